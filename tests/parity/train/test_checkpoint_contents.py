"""What a checkpoint holds: all that a step depends on and that follows from neither position nor run config.

The position alone gives the schedule, the order of the data and each step's random numbers: a run that goes
on draws the same (`test_loop`, `test_groups`, `test_kills` compare losses and samples to the last bit).
"""

from pathlib import Path

import pytest
import torch
from training_cases import final_curve, log_entries, metric_lines, run_config, train_alone

from deepseek_workloads.contract.architecture import Dropout
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.checkpoint_index import CheckpointIndex
from deepseek_workloads.train.context import Preempted
from deepseek_workloads.train.monitor import LocalMonitor


def index_of(run: TrainingRun) -> CheckpointIndex:
    newest = live_checkpoints(log_entries(run.storage.uri))[-1].record
    store = open_store(run.storage, environ={})
    return CheckpointIndex.model_validate_json(store.read(f"{newest.prefix}metadata.json"))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({}, "part.recent_losses"),
        ({"precision": "fp16"}, "part.loss_scale"),
        ({"optimizer": {"name": "muon", "learning_rate": 3e-3}}, "optimizer."),
    ],
)
def test_weights_moments_bias_and_what_is_remembered_between_steps_are_in_it(
    dataset: str, tmp_path: Path, settings: dict[str, object], part: str
) -> None:
    run = run_config(f"file://{tmp_path}/run", dataset, steps=2, **settings)  # type: ignore[arg-type]
    train_alone(run)
    shapes = {tensor.name: tensor.shape for tensor in index_of(run).tensors}
    assert any(name.startswith(part) for name in shapes)
    assert any(name.endswith("e_score_correction_bias") for name in shapes), (
        "the router's bias is moved by steps"
    )
    weights = {name.removeprefix("model.") for name in shapes if name.startswith("model.")}
    moments = {name for name in shapes if name.startswith("optimizer.state.")}
    trained = {name for name in weights if not name.endswith(("bias", "_count"))}
    assert all(any(f".{name}." in moment for moment in moments) for name in trained)


def test_random_numbers_are_a_function_of_the_position(dataset: str, tmp_path: Path) -> None:
    """Dropout draws in every layer."""

    def run(name: str) -> TrainingRun:
        plain = run_config(f"file://{tmp_path}/{name}", dataset)
        dropout = Dropout(attention=0.2, residual=0.2)
        architecture = plain.architecture.model_copy(update={"dropout": dropout})
        return plain.model_copy(update={"architecture": architecture})

    whole, broken = run("whole"), run("broken")
    train_alone(whole)
    monitor = LocalMonitor()
    with pytest.raises(Preempted):
        train_alone(broken, monitor=monitor, draining=lambda: monitor.step >= 2)
    torch.manual_seed(99)
    torch.rand(7)
    train_alone(broken)
    assert {line["epoch"] for line in metric_lines(broken.storage.uri)} == {1, 2}
    assert final_curve(broken.storage.uri) == final_curve(whole.storage.uri)


def test_a_checkpoint_of_an_older_version_that_remembers_no_losses_is_gone_on_from(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_config(f"file://{tmp_path}/run", dataset)
    monitor = LocalMonitor()
    with monkeypatch.context() as older:
        older.setattr("deepseek_workloads.train.watch.guard.Guard.state", lambda _: {})
        with pytest.raises(Preempted):
            train_alone(run, monitor=monitor, draining=lambda: monitor.step >= 3)
    assert "part.recent_losses" not in {tensor.name for tensor in index_of(run).tensors}
    assert train_alone(run).step == 6
