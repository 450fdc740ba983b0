"""What cannot be prepared is refused before any pod exists."""

from typing import Any

import pytest
from pydantic import ValidationError

from deepseek_operator.validation.dataset import dataset_run_of, validate_dataset
from deepseek_workloads.contract.pipeline import (
    FilterLength,
    IdentifyLanguage,
    PipelineStage,
    RepairEncoding,
    web_recipe,
)
from deepseek_workloads.contract.run_config import ImageAugmentation, ImageSettings, parse_run


def _back_translation(**changes: Any) -> dict[str, Any]:
    service = {"baseUrl": "http://chat.research.svc:8000/v1", "model": "chat"}
    return {"name": f"translated-{len(changes)}", "backTranslate": service | changes}


def test_a_possible_dataset_has_no_problems(make_dataset: Any) -> None:
    assert validate_dataset(make_dataset(), worker_image="worker") == []


@pytest.mark.parametrize(
    ("given", "allowed"), [(0, 0), (7, 7), ("1%", 10), ("0.25%", 2), ("100%", 1000), ("0%", 0), ("29%", 290)]
)
def test_bad_records_are_a_number_or_a_share(make_dataset: Any, given: int | str, allowed: int) -> None:
    run = dataset_run_of(make_dataset({"maxBadRecords": given}))
    assert run.bad_records_allowed(of=1000) == allowed


def test_copies_of_images_are_no_part_of_what_a_manifest_says_of_images(make_dataset: Any) -> None:
    changes = {
        "sources": [{"name": "a", "uri": "s3://b/c", "format": "image-text", "include": ["*.jsonl"]}],
        "tokenizer": {"train": None, "uri": "s3://b/tokenizer.json"},
        "images": {"augment": {"copies": 3, "maxRotationDegrees": "20"}},
    }
    run = dataset_run_of(make_dataset(changes))
    assert run.image_augmentation == ImageAugmentation(copies=3, max_rotation_degrees=20)
    assert run.images == ImageSettings()


@pytest.mark.parametrize("given", ["seven", "101%", "-1%", "1 %", -1])
def test_other_limits_of_bad_records_are_refused(make_dataset: Any, given: int | str) -> None:
    with pytest.raises(ValidationError):
        make_dataset({"maxBadRecords": given})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"storage": {"uri": "corpus"}}, "spec.storage.uri"),
        ({"sources": [{"name": "a", "uri": "s3://"}]}, "spec.sources[0].uri"),
        ({"tokenizer": {"train": None, "uri": "tokenizer.json"}}, "spec.tokenizer.uri"),
        ({"storage": {"endpointUrl": "http://s3:port"}}, "spec.storage.endpointUrl"),
        ({"sourceStorage": {"endpointUrl": "http://s3:99999"}}, "spec.sourceStorage.endpointUrl"),
        ({"heldOutFraction": "0.7"}, "spec.heldOutFraction"),
        ({"driftCheck": {"schedule": "0 0 30 2 *"}}, "spec.driftCheck.schedule"),
        (
            {"pipeline": [{"name": "unseen", "decontaminate": {"uris": ["questions.jsonl"]}}]},
            "spec.pipeline[0].decontaminate.uris[0]",
        ),
        (
            {"pipeline": [{"name": "meant", "deduplicateSemantic": {"model": {"uri": "model"}}}]},
            "spec.pipeline[0].deduplicateSemantic.model.uri",
        ),
        (
            {"pipeline": [{"name": "alike", "deduplicateNear": {"threshold": "0.2"}}]},
            "spec.pipeline[0].deduplicateNear.threshold",
        ),
        (
            {
                "pipeline": [
                    {"name": "more", "replaceSynonyms": {"lexicon": [{"word": "a b", "synonyms": ["c"]}]}}
                ]
            },
            "spec.pipeline[0].replaceSynonyms.lexicon[0].word",
        ),
        (
            {
                "pipeline": [
                    {"name": "more", "replaceSynonyms": {"lexicon": [{"word": "a", "synonyms": ["c"]}]}},
                    {"name": "equal", "deduplicateExact": {}},
                ]
            },
            "spec.pipeline[0].replaceSynonyms",
        ),
        (
            {"pipeline": [_back_translation(), {"name": "equal", "deduplicateExact": {}}]},
            "spec.pipeline[0].backTranslate",
        ),
        (
            {"pipeline": [_back_translation(baseUrl="http://chat:99999/v1")]},
            "spec.pipeline[0].backTranslate.baseUrl",
        ),
        (
            {"pipeline": [_back_translation(), _back_translation(secretRef={"name": "key"})]},
            "spec.pipeline[1].backTranslate.secretRef",
        ),
        (
            {"tokenizer": {"train": {"specialTokens": ["<a>", "<a>"]}}},
            "spec.tokenizer.train.specialTokens",
        ),
        (
            {
                "storage": {"uri": "az://models/a", "secretRef": None},
                "sourceStorage": {"region": "eu-west-1"},
            },
            "spec.storage.secretRef",
        ),
        (
            {"sources": [{"name": "a", "uri": "az://raw/a"}], "storage": {"secretRef": None}},
            "spec.storage.secretRef",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_impossible_datasets_are_refused(make_dataset: Any, changes: dict[str, Any], field: str) -> None:
    (problem,) = validate_dataset(make_dataset(changes), worker_image="worker")
    assert problem.field == field


def test_the_run_config_is_resolved(make_dataset: Any) -> None:
    run = dataset_run_of(make_dataset())
    assert run.raw_sources[0].uri == "s3://corpus/raw"
    assert run.tokenizer is not None
    assert run.tokenizer.vocab_size == 8192
    assert run.held_out_fraction == 0.01
    assert parse_run(run.to_json()) == run


def test_raw_sources_may_lie_at_another_endpoint(make_dataset: Any) -> None:
    run = dataset_run_of(make_dataset({"sourceStorage": {"endpointUrl": "https://s3.other.org"}}))
    assert run.raw_storage.endpoint_url == "https://s3.other.org"
    assert run.storage.endpoint_url is None


_BOTH = [{"name": "a", "uri": "pvc://raw/a"}, {"name": "b", "uri": "gs://corpus/b"}]
_S3_TOKENIZER = {"train": None, "uri": "s3://tok/tokenizer.json"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sources": _BOTH, "storage": {"endpointUrl": "http://s3:9000"}}, "spec.sources[1].uri"),
        (
            {"sources": _BOTH, "tokenizer": _S3_TOKENIZER, "sourceStorage": {"endpointUrl": "http://gs"}},
            "spec.tokenizer.uri",
        ),
    ],
)
def test_what_shares_an_endpoint_is_of_one_kind_also_beside_a_claim(
    make_dataset: Any, changes: dict[str, Any], field: str
) -> None:
    (problem,) = validate_dataset(make_dataset(changes), worker_image="worker")
    assert problem.field == field
    assert "same kind of storage" in problem.rule


def test_a_given_tokenizer_is_passed_on(make_dataset: Any) -> None:
    run = dataset_run_of(make_dataset({"tokenizer": {"train": None, "uri": "s3://tok/tokenizer.json"}}))
    assert (run.tokenizer, run.tokenizer_uri) == (None, "s3://tok/tokenizer.json")


def test_a_recipe_is_written_out_into_the_run(make_dataset: Any) -> None:
    run = dataset_run_of(make_dataset({"recipe": "web"}))
    assert run.pipeline == web_recipe()
    assert dataset_run_of(make_dataset()).pipeline is None


def test_a_pipeline_is_passed_on_in_its_order(make_dataset: Any) -> None:
    stages = [
        {"name": "mend", "repairEncoding": {}},
        {"name": "short", "filterLength": {"minWords": 3}},
        {"name": "known", "identifyLanguage": {"keep": ["en"], "minProbability": "0.5"}},
    ]
    run = dataset_run_of(make_dataset({"pipeline": stages}))
    assert run.pipeline == [
        PipelineStage(name="mend", repair_encoding=RepairEncoding()),
        PipelineStage(name="short", filter_length=FilterLength(min_words=3)),
        PipelineStage(name="known", identify_language=IdentifyLanguage(keep=["en"], min_probability=0.5)),
    ]


def test_stages_that_make_copies_may_follow_each_other_and_no_secret_is_in_the_run_config(
    make_dataset: Any,
) -> None:
    synonyms = {"name": "words", "replaceSynonyms": {"lexicon": [{"word": "a", "synonyms": ["c"]}]}}
    translated = _back_translation(secretRef={"name": "translator-key"})
    for pipeline in ([synonyms, translated], [translated, synonyms]):
        dataset = make_dataset({"pipeline": pipeline})
        assert validate_dataset(dataset, worker_image="worker") == []
        assert b"translator-key" not in dataset_run_of(dataset).to_json()


def test_a_back_translation_without_a_service_is_refused(make_dataset: Any) -> None:
    with pytest.raises(ValidationError, match="baseUrl"):
        make_dataset({"pipeline": [{"name": "translated", "backTranslate": {"model": "chat"}}]})


def test_captions_reach_the_run_config(make_dataset: Any) -> None:
    source = {
        "name": "a",
        "uri": "s3://b/c",
        "format": "image-text",
        "include": ["*.txt"],
        "captions": ["*.txt"],
    }
    given = {"sources": [source], "tokenizer": {"train": None, "uri": "s3://b/tokenizer.json"}}
    assert dataset_run_of(make_dataset(given)).raw_sources[0].captions == ["*.txt"]
