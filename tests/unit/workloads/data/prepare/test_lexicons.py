"""Lexicons in objects of their own, as stages and drift checks take them."""

import gzip
import json

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.augmentation import ReplaceSynonyms, Synonyms
from deepseek_workloads.contract.pipeline import AnnotateEntities, EntityPhrases, PipelineStage
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.lexicons import with_lexicon
from deepseek_workloads.store.interface import ObjectChanged
from deepseek_workloads.store.open import open_store

LEXICON = [
    {"word": "loss", "synonyms": ["error"]},
    *({"word": f"w{n}", "synonyms": ["x"]} for n in range(2000)),
]


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "synonyms.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, LEXICON)).encode()))
    return path


def _stage(uri: str) -> PipelineStage:
    return PipelineStage(name="words", replace_synonyms=ReplaceSynonyms(lexicon_uri=uri, rate=1))


@pytest.fixture
def context(make_run) -> Context:
    return Context(run=make_run(), attempt="", open_store=open_store)


def test_copies_are_those_of_the_same_lexicon_in_the_spec(lexicon, context) -> None:
    found = with_lexicon(context, ReplaceSynonyms(lexicon_uri=lexicon.as_uri()))
    assert found.lexicon == [Synonyms(**entry) for entry in LEXICON]
    in_place = ReplaceSynonyms(lexicon=[Synonyms(word="a", synonyms=["b"])])
    assert with_lexicon(context, in_place) == in_place


def test_entities_are_found_by_a_list_of_their_own(context, tmp_path) -> None:
    path = tmp_path / "entities.jsonl"
    path.write_text('{"type": "LOC", "phrases": ["New York"]}\n\n{"type": "ORG", "phrases": ["UN"]}\n')
    found = with_lexicon(context, AnnotateEntities(entities_uri=path.as_uri()))
    assert found.entities == [
        EntityPhrases(type="LOC", phrases=["New York"]),
        EntityPhrases(type="ORG", phrases=["UN"]),
    ]


def test_a_dataset_has_the_copies_and_another_lexicon_makes_another_dataset(
    lexicon, make_run, prepare
) -> None:
    run = make_run(pipeline=[_stage(lexicon.as_uri())])
    verdict = prepare(run)
    assert verdict.outcome == "Succeeded", verdict
    assert load_manifest(open_store(run.storage), verdict.digest).augmented_documents == 60
    lexicon.write_bytes(gzip.compress(json.dumps(LEXICON[0]).encode()))
    again = make_run(pipeline=[_stage(lexicon.as_uri())], owner=run.owner.model_copy(update={"uid": "other"}))
    assert prepare(again).reason == reasons.DATASET_EXISTS


def test_one_that_changes_meanwhile_is_not_mixed_with_what_it_was(lexicon, context) -> None:
    pinned = Context(
        run=context.run, attempt="", open_store=open_store, inputs=(f"{lexicon.as_uri()}\tother\t1",)
    )
    with pytest.raises(ObjectChanged, match="synonyms"):
        with_lexicon(pinned, ReplaceSynonyms(lexicon_uri=lexicon.as_uri()))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "has no line"),
        ('{"word": "two words", "synonyms": ["a"]}', "line 1: word"),
        ('{"word": "a", "synonyms": ["b"]}\nno JSON', "line 2"),
        (
            '{"word": "a", "synonyms": ["b"]}\n{"word": "A", "synonyms": ["c"]}',
            "'a': is named more than once",
        ),
    ],
)
def test_what_is_no_lexicon_is_refused_before_any_work(make_run, prepare, tmp_path, content, why) -> None:
    path = tmp_path / "synonyms.jsonl"
    path.write_text(content)
    verdict = prepare(make_run(pipeline=[_stage(path.as_uri())]))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert why in verdict.message
    assert not (tmp_path / "out/data").exists()


@pytest.mark.parametrize("given", [{}, {"lexicon": LEXICON[:1], "lexicon_uri": "s3://b/x"}])
def test_a_list_or_its_uri_is_asked_for(given) -> None:
    with pytest.raises(ValueError, match="one of the two"):
        ReplaceSynonyms(**given)
