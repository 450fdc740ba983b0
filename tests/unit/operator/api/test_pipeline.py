"""The stages of a spec are those of the run config: the same names, fields and defaults."""

from typing import Any

import pytest

from deepseek_operator.api import pipeline as api
from deepseek_workloads.contract import pipeline as contract

KINDS = [name for name in contract.PipelineStage.model_fields if name != "name"]
OF_PODS = {"secret_ref"}  # fields that no run config has
REQUIRED: dict[str, dict[str, Any]] = {
    "annotate_entities": {"entities": [{"type": "ORG", "phrases": ["Red Hat"]}]},
    "deduplicate_semantic": {"model": {"uri": "s3://bucket/model"}},
    "filter_perplexity": {"uris": ["s3://bucket/prose.txt"], "maxPerplexity": "20"},
    "replace_synonyms": {"lexicon": [{"word": "big", "synonyms": ["large"]}]},
    "truncate": {"maxCharacters": 10},
    "reorder_clauses": {"model": {"uri": "s3://bucket/english.udpipe"}},
    "back_translate": {"baseUrl": "http://chat.research.svc:8000/v1", "model": "chat"},
    "decontaminate": {"uris": ["s3://bucket/questions.jsonl"]},
}


def test_both_know_the_same_kinds() -> None:
    assert set(api.PipelineStage.model_fields) == set(contract.PipelineStage.model_fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_the_same_fields_and_defaults(kind: str) -> None:
    given = {"name": "stage", kind: REQUIRED.get(kind, {})}
    written = api.PipelineStage.model_validate(given)
    resolved = contract.PipelineStage.model_validate(given)
    assert contract.PipelineStage.model_validate(written.model_dump(exclude_none=True)) == resolved
    fields = set(type(getattr(written, kind)).model_fields) - OF_PODS
    assert fields == set(type(resolved.settings).model_fields)


def test_exactly_one_kind_is_asked_for_of_all() -> None:
    schema = api.PipelineStage.model_json_schema()
    [rule] = [rule for rule in schema["x-kubernetes-validations"] if "exactly one" in rule["message"]]
    assert all(f"has(self.{name})" in rule["rule"] for name in contract.KINDS)


@pytest.mark.parametrize("kinds", [{}, {"repair_encoding": {}, "truncate": {"max_characters": 1}}])
def test_no_kind_and_two_kinds_are_refused(kinds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"names {len(kinds)} kinds"):
        contract.PipelineStage.model_validate({"name": "stage", **kinds})


@pytest.mark.parametrize("name", [*contract.RESERVED_NAMES, "Upper", "under_score", ""])
def test_names_that_a_dataset_needs_itself_or_cannot_show_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        contract.PipelineStage.model_validate({"name": name, "repair_encoding": {}})
