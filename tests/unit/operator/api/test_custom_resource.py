"""Generated CRDs are structural, deterministic, small enough for kubectl, and their defaults are valid."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from deepseek_operator.api.custom_resource import build_crd, build_schema
from deepseek_operator.api.kinds import DATASET, KINDS, TRAINING_JOB, Kind

Schema = dict[str, Any]
ALL_KINDS = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
# kubectl apply keeps the whole object in an annotation, whose limit is 256 KiB.
ANNOTATION_LIMIT = 256 * 1024
STRUCTURAL = {
    "description",
    "type",
    "default",
    "required",
    "properties",
    "items",
    "additionalProperties",
    "enum",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "anyOf",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
}


def _schemas(schema: Schema) -> Iterator[Schema]:
    yield schema
    for child in schema.get("properties", {}).values():
        yield from _schemas(child)
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from _schemas(schema[name])


@ALL_KINDS
def test_only_keywords_of_structural_schemas_are_used(kind: Kind) -> None:
    assert {key for schema in _schemas(build_schema(kind)) for key in schema} - STRUCTURAL == set()


@ALL_KINDS
def test_client_side_apply_can_carry_the_crd(kind: Kind) -> None:
    assert len(json.dumps(build_crd(kind))) < ANNOTATION_LIMIT


@ALL_KINDS
def test_equal_types_give_equal_documents(kind: Kind) -> None:
    assert json.dumps(build_crd(kind)) == json.dumps(build_crd(kind))


@ALL_KINDS
def test_defaults_satisfy_their_own_schemas(kind: Kind) -> None:
    for schema in _schemas(build_schema(kind)):
        if "default" in schema:
            jsonschema.validate(schema["default"], schema)


@ALL_KINDS
def test_a_status_has_no_defaults(kind: Kind) -> None:
    """The operator writes it whole; a default would tell of things that were never seen."""
    status = build_schema(kind)["properties"]["status"]
    assert [schema for schema in _schemas(status) if "default" in schema] == []


@ALL_KINDS
def test_the_status_is_a_subresource(kind: Kind) -> None:
    (version,) = build_crd(kind)["spec"]["versions"]
    assert version["subresources"]["status"] == {}


@ALL_KINDS
def test_list_maps_require_their_keys(kind: Kind) -> None:
    for schema in _schemas(build_schema(kind)):
        for key in schema.get("x-kubernetes-list-map-keys", []):
            assert key in schema["items"]["required"]


@ALL_KINDS
def test_fields_that_rules_point_at_exist(kind: Kind) -> None:
    for schema in _schemas(build_schema(kind)):
        for rule in schema.get("x-kubernetes-validations", []):
            node = schema
            for name in rule.get("fieldPath", "").split(".")[1:]:
                node = node["properties"][name]


def test_the_default_of_an_object_is_whole_but_for_what_is_absent() -> None:
    """The API server checks rules on a default as it stands, before it fills in defaults within."""
    workers = build_schema(TRAINING_JOB)["properties"]["spec"]["properties"]["workers"]
    assert workers["default"] == {
        "numNodes": 1,
        "numProcPerNode": 1,
        "resources": {"cpu": "1", "memory": "2Gi", "gpu": 0},
    }


def test_optional_fields_are_neither_required_nor_null() -> None:
    training = build_schema(TRAINING_JOB)["properties"]["spec"]["properties"]["training"]
    assert training["required"] == ["globalBatchSize"]
    assert "anyOf" not in training["properties"]["tokens"]
    assert "nullable" not in training["properties"]["tokens"]


@pytest.mark.parametrize("kind", [TRAINING_JOB, DATASET], ids=lambda kind: kind.name)
def test_every_field_of_a_spec_is_immutable_or_known_to_be_mutable(kind: Kind) -> None:
    spec = build_schema(kind)["properties"]["spec"]
    guarded = {rule.get("fieldPath", "").lstrip(".") for rule in spec["x-kubernetes-validations"]}
    free = {name for name in spec["properties"] if name not in guarded}
    # workers, coordinator, runPolicy and checkpoint have rules of their own, for each of their fields.
    own = {"alerts", "checkpoint"} if kind is TRAINING_JOB else {"driftCheck"}
    assert free == {"suspend", "workers", "coordinator", "runPolicy", *own}


@pytest.mark.parametrize(("kind", "size"), [(TRAINING_JOB, {"numNodes"}), (DATASET, set())])
def test_within_workers_only_placement_and_the_size_of_a_job_can_change(kind: Kind, size: set[str]) -> None:
    spec = build_schema(kind)["properties"]["spec"]
    workers = spec["properties"]["workers"]
    immutable = {
        rule["fieldPath"].lstrip(".")
        for rule in workers["x-kubernetes-validations"]
        if "immutable" in rule["message"]
    }
    suspended = {
        rule["fieldPath"].removeprefix(".workers.")
        for rule in spec["x-kubernetes-validations"]
        if rule.get("fieldPath", "").startswith(".workers.")
    }
    assert set(workers["properties"]) - immutable - suspended == {"minNodes", *size}


def test_jobs_can_be_scaled_and_nothing_else() -> None:
    scale = {"specReplicasPath": ".spec.workers.numNodes", "statusReplicasPath": ".status.nodes"}
    for kind in KINDS.values():
        (version,) = build_crd(kind)["spec"]["versions"]
        assert version["subresources"].get("scale") == (scale if kind is TRAINING_JOB else None)


def test_within_checkpoint_only_what_is_kept_can_change() -> None:
    checkpoint = build_schema(TRAINING_JOB)["properties"]["spec"]["properties"]["checkpoint"]
    immutable = {
        rule["fieldPath"].lstrip(".")
        for rule in checkpoint["x-kubernetes-validations"]
        if "immutable" in rule["message"]
    }
    assert set(checkpoint["properties"]) - immutable == {"keepLast", "keepEvery", "keepBest"}


def test_within_the_run_policy_only_deadlines_and_retention_can_change() -> None:
    policy = build_schema(TRAINING_JOB)["properties"]["spec"]["properties"]["runPolicy"]
    immutable = {
        rule["fieldPath"].lstrip(".")
        for rule in policy["x-kubernetes-validations"]
        if "immutable" in rule["message"]
    }
    assert set(policy["properties"]) - immutable == {
        "startupDeadlineSeconds",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    }
