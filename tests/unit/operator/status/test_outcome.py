"""When a run is over, and why."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from deepseek_operator.status.observed import ContainerExit, Observed
from deepseek_operator.status.outcome import active_seconds, outcome_of
from deepseek_operator.status.training_job import compute_status
from deepseek_workloads.contract.messages import Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun

SUCCESS = Verdict(outcome="Succeeded", reason="Completed", message="done", step=100)
REFUSED = Verdict(outcome="Failed", reason="AccessDenied", message="bucket models", exit_code=3)
OOM = ContainerExit(137, reason="OOMKilled")


def test_a_running_job_is_not_over(make_job: Any, make_pod: Any, now: datetime) -> None:
    assert outcome_of(make_job(), Observed(now=now, pods=(make_pod("coordinator"), make_pod()))) is None


@pytest.mark.parametrize(("verdict", "succeeded"), [(SUCCESS, True), (REFUSED, False)])
def test_the_verdict_decides(
    make_job: Any, make_ended: Any, now: datetime, verdict: Verdict, succeeded: bool
) -> None:
    outcome = outcome_of(make_job(), Observed(now=now, pods=(make_ended(verdict),)))
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason, outcome.message) == (
        succeeded,
        verdict.reason,
        verdict.message,
    )
    assert outcome.at == now


@pytest.mark.parametrize("word", ["Stopped", "Retry"])
def test_a_stopped_or_retried_run_is_not_over(
    make_job: Any, make_ended: Any, now: datetime, word: str
) -> None:
    verdict = Verdict.model_validate({"outcome": word, "reason": "Stopped"})
    assert outcome_of(make_job(), Observed(now=now, pods=(make_ended(verdict),))) is None


def test_a_verdict_of_an_earlier_coordinator_does_not_count(
    make_job: Any, make_pod: Any, make_ended: Any, now: datetime
) -> None:
    pods = (make_ended(REFUSED, incarnation=1), make_pod("coordinator", incarnation=2))
    assert outcome_of(make_job(), Observed(now=now, pods=pods)) is None


def test_a_verdict_of_out_of_memory_tells_the_estimate_too(
    make_job: Any, make_ended: Any, now: datetime, run: TrainingRun
) -> None:
    verdict = Verdict(outcome="Failed", reason="OOMKilled", message="rank 1 was killed", exit_code=1)
    outcome = outcome_of(make_job(), Observed(now=now, pods=(make_ended(verdict),), run=run))
    assert outcome is not None
    assert outcome.message.startswith("rank 1 was killed; its limit is 3Gi, the estimate")


def test_progress_never_decides(make_job: Any, make_pod: Any, now: datetime) -> None:
    progress = Progress(phase="Done", step=100, total_steps=100, failures=99)
    observed = Observed(now=now, pods=(make_pod("coordinator"),), progress=progress)
    assert outcome_of(make_job(), observed) is None


def test_what_was_decided_stays_decided(make_job: Any, make_ended: Any, now: datetime) -> None:
    """Also when every pod is gone, and when the operator is a newer one."""
    job = make_job()
    status = compute_status(job, Observed(now=now, pods=(make_ended(SUCCESS),)))
    later = outcome_of(job.model_copy(update={"status": status}), Observed(now=now + timedelta(days=1)))
    assert later is not None
    assert (later.succeeded, later.reason, later.at) == (True, "Completed", now)


def test_failures_within_the_limit_are_retried(make_job: Any, make_pod: Any, now: datetime) -> None:
    job = make_job({"runPolicy": {"backoffLimit": 1}})
    pods = (make_pod("coordinator"), make_pod(phase="Failed", exit=ContainerExit(1)))
    assert outcome_of(job, Observed(now=now, pods=pods)) is None


def test_failures_beyond_the_limit_end_the_run(make_job: Any, make_pod: Any, now: datetime) -> None:
    job = make_job({"runPolicy": {"backoffLimit": 1}})
    crashed = make_pod(phase="Failed", exit=ContainerExit(1, message="Traceback\nBoom"), failures=1)
    outcome = outcome_of(job, Observed(now=now, pods=(make_pod("coordinator"), crashed)))
    assert outcome is not None
    assert outcome.reason == "BackoffLimitExceeded"
    assert "Boom" in outcome.message
    assert "backoffLimit" in outcome.message


def test_failures_of_several_places_add_up(make_job: Any, make_pod: Any, now: datetime) -> None:
    job = make_job({"runPolicy": {"backoffLimit": 1}})
    crashed = [make_pod(index=index, phase="Failed", exit=ContainerExit(1)) for index in (0, 1)]
    assert outcome_of(job, Observed(now=now, pods=(make_pod("coordinator"), *crashed))) is not None


@pytest.mark.parametrize(
    "loss",
    [{"disruption": "DeletionByTaintManager"}, {"reason": "Evicted", "phase": "Failed"}, {"deleting": True}],
)
def test_lost_pods_never_end_a_run(make_job: Any, make_pod: Any, now: datetime, loss: dict[str, Any]) -> None:
    job = make_job({"runPolicy": {"backoffLimit": 0}})
    pods = (make_pod("coordinator", **loss), make_pod(**loss))
    assert outcome_of(job, Observed(now=now, pods=pods)) is None


def test_out_of_memory_tells_the_estimate_beside_the_limit(
    make_job: Any, make_pod: Any, now: datetime, run: TrainingRun
) -> None:
    job = make_job({"runPolicy": {"backoffLimit": 0}})
    pods = (make_pod("coordinator"), make_pod(phase="Failed", exit=OOM))
    outcome = outcome_of(job, Observed(now=now, pods=pods, run=run))
    assert outcome is not None
    assert outcome.reason == "OOMKilled"
    assert "its limit is 3Gi, the estimate of the model and its activations" in outcome.message
    assert "spec.workers.resources.memory" in outcome.message


def test_out_of_memory_of_the_coordinator_names_its_own_field(
    make_job: Any, make_pod: Any, now: datetime, run: TrainingRun
) -> None:
    job = make_job({"runPolicy": {"backoffLimit": 0}})
    pods = (make_pod("coordinator", phase="Failed", exit=OOM),)
    outcome = outcome_of(job, Observed(now=now, pods=pods, run=run))
    assert outcome is not None
    assert "spec.coordinator.resources.memory" in outcome.message


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ImagePullBackOff", "ImagePullFailed"),
        ("CreateContainerConfigError", "ContainerConfigInvalid"),
        ("ContainerCreating", "StartupDeadlineExceeded"),
    ],
)
def test_the_startup_deadline_frees_the_nodes(
    make_job: Any, make_pod: Any, now: datetime, waiting: str, reason: str
) -> None:
    job = make_job({"runPolicy": {"startupDeadlineSeconds": 30}})
    pod = make_pod("coordinator", phase="Pending", ready=False, waiting_reason=waiting)
    for seconds, over in ((29, False), (31, True)):
        moment = pod.scheduled_at + timedelta(seconds=seconds)
        outcome = outcome_of(job, Observed(now=moment, pods=(pod,)))
        assert (outcome is not None) == over
        if outcome is not None:
            assert outcome.reason == reason


def test_waiting_for_a_node_has_no_deadline(make_job: Any, make_pod: Any, now: datetime) -> None:
    job = make_job({"runPolicy": {"startupDeadlineSeconds": 30}})
    pod = make_pod("coordinator", phase="Pending", ready=False, scheduled_at=None, unschedulable="0/2 nodes")
    assert outcome_of(job, Observed(now=now + timedelta(days=7), pods=(pod,))) is None


def test_the_active_deadline_leaves_out_suspensions(make_job: Any, make_pod: Any, now: datetime) -> None:
    status = {"startTime": (now - timedelta(seconds=100)).isoformat(), "suspendedSeconds": 50}
    pods = (make_pod("coordinator"),)
    for limit, over in ((51, False), (49, True)):
        job = make_job({"runPolicy": {"activeDeadlineSeconds": limit}}, status=status)
        outcome = outcome_of(job, Observed(now=now, pods=pods))
        assert (outcome is not None) == over
        if outcome is not None:
            assert outcome.reason == "DeadlineExceeded"


def test_a_suspended_job_meets_no_deadline(make_job: Any, now: datetime) -> None:
    status = {"startTime": (now - timedelta(days=3)).isoformat()}
    job = make_job({"suspend": True, "runPolicy": {"activeDeadlineSeconds": 10}}, status=status)
    assert outcome_of(job, Observed(now=now)) is None


def test_the_clock_stands_still_while_suspended(make_job: Any, now: datetime) -> None:
    status = make_job(
        status={
            "startTime": (now - timedelta(seconds=100)).isoformat(),
            "suspendedSince": (now - timedelta(seconds=60)).isoformat(),
            "suspendedSeconds": 10,
        }
    ).status
    assert active_seconds(status, now) == active_seconds(status, now + timedelta(hours=1)) == 30
