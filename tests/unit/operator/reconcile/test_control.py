"""What a running coordinator is told: the newest limits of a healthy run are part of it."""

from typing import Any

import pytest

from deepseek_operator.api.training_job import TrainingJobSpec
from deepseek_operator.reconcile.control import must_push, wanted_control
from deepseek_operator.resources.run_config import alerts_of, retention_of
from deepseek_workloads.contract.messages import Control, Progress
from deepseek_workloads.contract.monitoring import Alerts
from deepseek_workloads.contract.retention import KeepBest, Retention

SPEC: dict[str, Any] = {
    "model": {"preset": "deepseek-v3-tiny"},
    "data": {"sources": [{"name": "docs", "datasetRef": {"name": "docs"}}], "sequenceLength": 8},
    "training": {"globalBatchSize": 2, "steps": 1},
    "storage": {"uri": "s3://models/tiny", "secretRef": {"name": "s3"}},
}


@pytest.mark.parametrize(
    ("seen", "pushed"),
    [
        (Progress(control_generation=1), True),
        (Progress(control_generation=2), True),  # another size may be wanted without another spec
        (Progress(control_generation=1, desired_state="Stopped"), True),  # a rank has not seen it
        (Progress(control_generation=2, desired_state="Stopped"), False),
    ],
)
def test_a_run_is_told_to_stop_until_all_of_it_knows(seen: Progress, pushed: bool) -> None:
    assert must_push(wanted_control(generation=2, stop=True), seen) is pushed


def test_a_wish_to_stop_is_taken_back_also_by_the_same_generation() -> None:
    stopping = Progress(control_generation=2, desired_state="Stopped")
    assert must_push(wanted_control(generation=2, stop=False), stopping)
    assert not must_push(wanted_control(generation=2, stop=False), Progress(control_generation=2))


def test_the_limits_that_nobody_set_are_those_of_the_trainer() -> None:
    assert alerts_of(TrainingJobSpec.model_validate(SPEC)) == Alerts()


def test_changed_limits_reach_a_running_job() -> None:
    rules = {"gradientNorm": {"threshold": "2.5", "action": "rollback"}, "rollbackCheckpoints": 2}
    alerts = alerts_of(TrainingJobSpec.model_validate({**SPEC, "alerts": rules}))
    control = wanted_control(generation=2, stop=False, alerts=alerts)
    assert must_push(control, Progress(control_generation=1))
    received = Control.model_validate_json(control.to_json()).alerts
    assert received is not None
    assert (received.gradient_norm.threshold, received.gradient_norm.action) == (2.5, "rollback")
    assert received.rollback_checkpoints == 2


def test_what_is_kept_of_checkpoints_reaches_a_running_job_when_it_changes() -> None:
    assert retention_of(TrainingJobSpec.model_validate(SPEC)) == Retention()
    kept = {"keepLast": 5, "keepEvery": 1000, "keepBest": {"metric": "loss", "count": 2}}
    retention = retention_of(TrainingJobSpec.model_validate({**SPEC, "checkpoint": kept}))
    control = wanted_control(generation=2, stop=False, retention=retention)
    received = Control.model_validate_json(control.to_json()).retention
    best = KeepBest(metric="loss", mode="min", count=2)
    assert received == Retention(keep_last=5, keep_every=1000, keep_best=best)
