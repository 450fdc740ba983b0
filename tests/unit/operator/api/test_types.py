"""The API types follow the conventions: everything described, bounded, camelCase, unknown fields refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from deepseek_operator.api.architecture import (
    ArchitectureOverrides,
    AttentionOverrides,
    IndexerOverrides,
    InitializationRule,
    MoEOverrides,
    RopeScalingOverrides,
)
from deepseek_operator.api.custom_resource import build_crd, build_schema
from deepseek_operator.api.kinds import KINDS, Kind
from deepseek_operator.api.pods import CpuResources
from deepseek_operator.api.schema import measured
from deepseek_operator.api.vision import Vision as VisionOverrides
from deepseek_workloads.contract.architecture import (
    Architecture,
    Attention,
    Indexer,
    Initialization,
    MoE,
    RopeScaling,
    Vision,
)

Schema = dict[str, Any]
ALL_KINDS = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


def _fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field below a schema, with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from _fields(child, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from _fields(schema["items"], f"{path}[]")


@ALL_KINDS
def test_every_field_of_spec_and_status_is_described(kind: Kind) -> None:
    schema = build_schema(kind)["properties"]
    bare = [
        f"{part}{path}"
        for part in ("spec", "status")
        for path, field in _fields(schema[part])
        if not field.get("description") and not path.endswith("[]")
    ]
    assert bare == []


@ALL_KINDS
def test_every_string_list_and_number_of_a_spec_is_bounded(kind: Kind) -> None:
    unbounded = []
    for path, field in _fields(build_schema(kind)["properties"]["spec"]):
        bounds = {"string": "maxLength", "array": "maxItems", "integer": "maximum"}
        bound = bounds.get(field.get("type", ""))
        if bound and bound not in field and "enum" not in field:
            unbounded.append(path)
        if "additionalProperties" in field and "maxProperties" not in field:
            unbounded.append(path)
    assert unbounded == []


@ALL_KINDS
def test_there_are_no_floats(kind: Kind) -> None:
    assert [path for path, field in _fields(build_schema(kind)) if field.get("type") == "number"] == []


@ALL_KINDS
def test_every_printer_column_leads_to_a_field(kind: Kind) -> None:
    paths = {path.replace("[]", "[*]") for path, _ in _fields(build_schema(kind))}
    given = {column.path for column in kind.columns} - {".metadata.creationTimestamp"}
    assert given - paths == set()


def test_columns_of_jobs_are_those_that_the_documentation_names() -> None:
    narrow = [column.name.upper() for column in KINDS["DeepSeekTrainingJob"].columns if not column.wide]
    assert narrow == ["STATE", "STEP", "PROGRESS", "LOSS", "TOKENS/S", "ETA", "AGE"]


def test_columns_of_datasets_are_those_that_the_documentation_names() -> None:
    narrow = [column.name.upper() for column in KINDS["DeepSeekDataset"].columns if not column.wide]
    assert narrow == ["STATE", "STAGE", "PROGRESS", "DOCUMENTS", "TOKENS", "DIGEST", "AGE"]


def test_kinds_have_short_names_and_a_category() -> None:
    names = {kind.name: build_crd(kind)["spec"]["names"] for kind in KINDS.values()}
    assert {name: each["shortNames"] for name, each in names.items()} == {
        "DeepSeekTrainingJob": ["dsjob"],
        "DeepSeekDataset": ["dsdata"],
        "DeepSeekModelRevision": ["dsrev"],
        "DeepSeekModelService": ["dsserve"],
    }
    assert all(each["categories"] == ["deepseek"] for each in names.values())


@pytest.mark.parametrize(
    ("overrides", "contract"),
    [
        (ArchitectureOverrides, Architecture),
        (AttentionOverrides, Attention),
        (IndexerOverrides, Indexer),
        (InitializationRule, Initialization),
        (MoEOverrides, MoE),
        (RopeScalingOverrides, RopeScaling),
        (VisionOverrides, Vision),  # beside the architecture: spec.model.vision
    ],
)
def test_overrides_name_every_field_of_the_contract(
    overrides: type[BaseModel], contract: type[BaseModel]
) -> None:
    assert set(overrides.model_fields) - {"type", "init_from"} == set(contract.model_fields) - {"vision"}


def test_an_unknown_field_is_refused(make_job: Any) -> None:
    with pytest.raises(ValidationError, match=r"spec\.training\.stepz"):
        make_job({"training": {"stepz": 3}})


def test_unknown_fields_of_a_status_are_ignored(make_job: Any) -> None:
    assert make_job(status={"step": 3, "ofANewerOperator": True}).status.step == 3


def test_a_quantity_may_be_written_as_a_number() -> None:
    assert CpuResources.model_validate({"cpu": 2}).cpu == "2"


@pytest.mark.parametrize("text", ["", "1,5", "-1", "2GB", "1e3", "half"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        CpuResources(memory=text)


@pytest.mark.parametrize("text", ["3e-4", "0.1", "1", "1e10", "2.5E-3"])
def test_decimals_are_strings(make_job: Any, text: str) -> None:
    job = make_job({"training": {"optimizer": {"learningRate": text}}})
    assert float(job.spec.training.optimizer.learning_rate) == float(text)


@pytest.mark.parametrize("value", [3e-4, "-1", "1.", ".5", "0x1", "nan", "inf"])
def test_what_is_no_decimal_string_is_refused(make_job: Any, value: object) -> None:
    with pytest.raises(ValidationError):
        make_job({"training": {"optimizer": {"learningRate": value}}})


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "1.5"), (1e-7, "1e-07"), (float("nan"), "NaN"), (float("-inf"), "-Infinity"), (0.0, "0")],
)
def test_measurements_are_written_in_the_form_that_the_schema_admits(value: float, text: str) -> None:
    assert measured(value) == text


def test_an_optional_part_of_a_preset_is_taken_away_by_a_word(make_job: Any) -> None:
    """Not by a null: kubectl apply would drop it, and the preset's part would silently stay."""
    overrides = {"qLoraRank": 0, "ropeScaling": {"type": "none"}, "moe": {"nGroup": 1}}
    job = make_job({"model": {"preset": "deepseek-v3", "architecture": overrides}})
    assert job.spec.model.architecture.to_overrides() == {
        "qLoraRank": None,
        "ropeScaling": None,
        "moe": {"nGroup": 1},
    }


def test_scaling_changes_the_presets_field_by_field(make_job: Any) -> None:
    job = make_job({"model": {"architecture": {"ropeScaling": {"factor": "8"}}}})
    assert job.spec.model.architecture.to_overrides() == {"ropeScaling": {"factor": "8"}}
