import json

import pytest
from pydantic import ValidationError

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import DatasetRun, TrainingRun, parse_run
from deepseek_workloads.plan.presets import PRESETS

OWNER = {"namespace": "research", "name": "tiny", "uid": "u-1"}
STORAGE = {"uri": "s3://models/tiny", "endpointUrl": "http://store:7070"}


def _training() -> dict:
    return {
        "kind": "training",
        "owner": OWNER,
        "architecture": json.loads(PRESETS["deepseek-v3-tiny"].to_json()),
        "data": {"sources": [{"name": "docs", "storage": STORAGE}], "sequenceLength": 128},
        "training": {"steps": 10, "globalBatchSize": 8},
        "workers": {"numNodes": 2, "numProcPerNode": 4},
        "storage": STORAGE,
    }


def _dataset() -> dict:
    return {
        "kind": "dataset",
        "owner": OWNER,
        "rawSources": [{"name": "pages", "uri": "s3://raw/pages"}],
        "rawStorage": STORAGE,
        "tokenizer": {"vocabSize": 8192},
        "workers": {"numNodes": 1},
        "storage": STORAGE,
    }


@pytest.mark.parametrize(("document", "kind"), [(_training(), TrainingRun), (_dataset(), DatasetRun)])
def test_a_run_comes_back_as_it_was_written(document, kind) -> None:
    run = parse_run(json.dumps(document))
    assert isinstance(run, kind)
    assert parse_run(run.to_json()) == run
    assert parse_run(run.to_json()).to_json() == run.to_json()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "tuning"}, "kind|tag"),
        ({"schemaVersion": 2}, "schemaVersion"),
        ({"surprise": 1}, "surprise"),
        ({"data": {"sources": [], "sequenceLength": 128}}, "sources"),
        ({"training": {"steps": 0, "globalBatchSize": 8}}, "steps"),
        ({"training": {"steps": 1, "globalBatchSize": 8, "learningRate": 1}}, "learningRate"),
    ],
)
def test_what_is_not_of_this_schema_is_refused_by_field(change, field) -> None:
    with pytest.raises(ValidationError, match=field):
        parse_run(json.dumps(_training() | change))


def test_the_world_is_every_process_of_every_node() -> None:
    run = parse_run(json.dumps(_training()))
    assert isinstance(run, TrainingRun)
    assert run.workers.world_size == 8


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_survives_the_wire(name) -> None:
    assert Architecture.model_validate_json(PRESETS[name].to_json()) == PRESETS[name]
