"""A run's curves in MLflow and Weights & Biases, by their own libraries, into folders.

MLflow's folder is read by its client; Weights & Biases writes offline what it would send.
"""

import json
import struct
from pathlib import Path

import pytest
import wandb
from mlflow import MlflowClient
from training_cases import run_config, train_alone, write_dataset
from wandb.proto import wandb_internal_pb2

from deepseek_workloads.contract.monitoring import Mlflow, Monitoring, WeightsAndBiases
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.train.trackers.interface import Point
from deepseek_workloads.train.trackers.wandb import WandbTracker

STEPS = 3
BLOCK, FULL, LAST = 32 * 1024, 1, 4


@pytest.fixture
def run(tmp_path: Path) -> TrainingRun:
    return run_config(f"file://{tmp_path}/run", write_dataset(tmp_path), steps=STEPS)


def test_mlflow_has_one_run_for_a_job_and_all_its_restarts(
    run: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    server = f"file://{tmp_path}/mlflow"
    tracked = run.model_copy(
        update={"monitoring": Monitoring(mlflow=Mlflow(tracking_uri=server, experiment="tiny"))}
    )
    longer = tracked.model_copy(
        update={
            "training": tracked.training.model_copy(
                update={"schedule": tracked.training.schedule.model_copy(update={"name": "constant"})}
            )
        }
    )
    first, second = (
        longer.model_copy(update={"training": longer.training.model_copy(update={"steps": steps})})
        for steps in (STEPS, STEPS + 2)
    )
    assert train_alone(first).outcome == "Succeeded"
    assert train_alone(second).outcome == "Succeeded"

    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (run.owner.name, "FINISHED")
    assert found.data.params["architecture.hiddenSize"] == str(run.architecture.hidden_size)
    losses = client.get_metric_history(found.info.run_id, "train/loss")
    assert [metric.step for metric in losses] == list(range(1, STEPS + 3))
    assert "evaluation/held_out_loss" in found.data.metrics
    assert not [name for name in found.data.params if "secret" in name.lower() or "storage" in name.lower()]


def test_wandb_has_the_points_by_step_and_what_the_run_is(
    run: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = WandbTracker(WeightsAndBiases(project="tiny"), run, folder=str(tmp_path))
    tracker.log([Point(step, 0.0, {"train/loss": 4.0 - step}) for step in (1, 2, 2)])
    tracker.close(finished=True)
    wandb.teardown()  # its own process has written all by then

    records = read(next(tmp_path.glob("wandb/offline-run-*/*.wandb")))
    (made,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (made.run_id, made.project, made.display_name) == (run.owner.uid, "tiny", run.owner.name)
    history = [
        {"".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(line["step"], line["train/loss"]) for line in history] == [(1, 3.0), (2, 2.0), (2, 2.0)]


def read(path: Path) -> list[wandb_internal_pb2.Record]:
    """A log of LevelDB's format: blocks of 32 KiB, in which pieces of records follow a header of 7 bytes."""
    content, at, records, begun = path.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if (left := BLOCK - at % BLOCK) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        begun += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            records.append(wandb_internal_pb2.Record.FromString(begun))
            begun = b""
    return records
