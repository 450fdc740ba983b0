"""Events tell what changed, once, in words."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from deepseek_operator.status.events import ResourceEvent, events_between
from deepseek_operator.status.observed import ContainerExit, Observed
from deepseek_operator.status.training_job import compute_status
from deepseek_workloads.contract.messages import AlertSummary, Progress, Verdict
from deepseek_workloads.contract.monitoring import AlertKind
from deepseek_workloads.plan.problem import Problem


def _reasons(events: list[ResourceEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in events]


def _told(job: Any, *observations: Observed) -> list[list[tuple[str, str]]]:
    told = []
    for observed in observations:
        status = compute_status(job, observed)
        told.append(_reasons(events_between(job.status, status)))
        job = job.model_copy(update={"status": status})
    return told


def test_the_life_of_a_job(make_job: Any, make_pod: Any, make_ended: Any, now: datetime) -> None:
    pods = (make_pod("coordinator"), make_pod(index=0), make_pod(index=1))
    training = Observed(now=now, pods=pods, progress=Progress(phase="Training", step=1))
    done = make_ended(Verdict(outcome="Succeeded", reason="Completed", message="m"))
    assert _told(
        make_job(),
        Observed(now=now),
        training,
        replace(training, progress=Progress(phase="Training", step=2)),
        replace(training, progress=Progress(phase="Evaluating", step=2)),
        Observed(now=now, pods=(done,)),
        Observed(now=now + timedelta(hours=1)),
    ) == [
        [("Normal", "Accepted")],
        [("Normal", "PodsReady"), ("Normal", "Running")],
        [],
        [],
        [("Normal", "Succeeded")],
        [],
    ]


def test_a_refusal_is_a_warning(make_job: Any, now: datetime) -> None:
    problem = Problem("spec.model.preset", "'x'", "rule", "remedy", reason="UnknownPreset")
    observed = Observed(now=now, problems=(problem,))
    assert _told(make_job(), observed, observed) == [[("Warning", "UnknownPreset")], []]


def test_each_loss_is_told_once(make_job: Any, make_pod: Any, now: datetime) -> None:
    crashed = make_pod(phase="Failed", exit=ContainerExit(1))
    observed = Observed(now=now, pods=(make_pod("coordinator"), crashed))
    first, second = _told(make_job(), observed, observed)
    assert ("Warning", "Interrupted") in first
    assert second == []


def test_an_obstacle_is_a_warning_with_its_reason(make_job: Any, make_pod: Any, now: datetime) -> None:
    pending = make_pod("coordinator", phase="Pending", ready=False, unschedulable="0/2 nodes are available")
    job = make_job()
    status = compute_status(job, Observed(now=now, pods=(pending,)))
    (event,) = [event for event in events_between(job.status, status) if event.reason == "Unschedulable"]
    assert event.type == "Warning"
    assert "0/2 nodes are available" in event.note


def test_a_new_warning_of_the_run_is_told_once(make_job: Any, make_pod: Any, now: datetime) -> None:
    progress = Progress(phase="Training", warnings=["checkpoint 30 is damaged: went back to 20"])
    observed = Observed(now=now, pods=(make_pod("coordinator"),), progress=progress)
    first, second = _told(make_job(), observed, observed)
    assert ("Warning", "RunWarning") in first
    assert second == []


def test_suspending_is_told(make_job: Any, make_pod: Any, now: datetime) -> None:
    pods = (make_pod("coordinator"),)
    first, second = _told(make_job({"suspend": True}), Observed(now=now, pods=pods), Observed(now=now))
    assert ("Normal", "Suspending") in first
    assert ("Normal", "Suspended") in second


def test_each_kind_of_alert_is_told_once(make_job: Any, make_pod: Any, now: datetime) -> None:
    pods = (make_pod("coordinator"), make_pod(index=0), make_pod(index=1))

    def seen(*kinds: AlertKind) -> Observed:
        alerts = [AlertSummary(kind=kind, action="warn", step=1, message="high") for kind in kinds]
        return Observed(now=now, pods=pods, progress=Progress(phase="Training", step=1, alerts=alerts))

    told = _told(
        make_job(), seen(), seen("LossSpike"), seen("LossSpike"), seen("LossSpike", "Memory"), seen()
    )
    assert told[1:] == [[("Warning", "LossSpike")], [], [("Warning", "Memory")], []]
