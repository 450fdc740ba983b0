"""What the driver of a serving run decides and says."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus, ReplicaState

from deepseek_workloads.contract import reasons
from deepseek_workloads.launch.ray_cluster import NotInTime
from deepseek_workloads.launch.ray_serve import (
    APPLICATION,
    ReplicasFailed,
    progress_of,
    ready_replicas,
    verdict_of,
    wanted_replicas,
)


@pytest.mark.parametrize(
    ("replicas", "nodes", "ready", "wanted"),
    [
        (0, 1, 0, 1),
        (1, 3, 1, 3),
        (2, 1, 2, 2),  # Ray Serve has not noticed: it might stop the one that answers
        (2, 1, 1, 1),
        (2, 0, 0, 2),  # until a worker comes back
    ],
)
def test_replicas_follow_the_nodes(replicas: int, nodes: int, ready: int, wanted: int) -> None:
    assert wanted_replicas(replicas, nodes=nodes, ready=ready) == wanted


def status(application: ApplicationStatus, **states: int) -> Any:
    """As `serve.status()` has it."""
    replicas = {ReplicaState[name]: number for name, number in states.items()}
    deployment = SimpleNamespace(message="no such export", replica_states=replicas)
    found = SimpleNamespace(status=application, message="", deployments={APPLICATION: deployment})
    return SimpleNamespace(applications={APPLICATION: found})


def test_a_failed_deployment_with_a_replica_that_answers_goes_on() -> None:
    assert ready_replicas(status(ApplicationStatus.DEPLOY_FAILED, RUNNING=1, STARTING=1)) == 1


def test_a_failed_deployment_without_one_says_why() -> None:
    with pytest.raises(ReplicasFailed, match="no such export"):
        ready_replicas(status(ApplicationStatus.DEPLOY_FAILED, STARTING=2))


def test_it_serves_from_the_first_replica_that_has_passed_the_check() -> None:
    before = progress_of(2, 0, checked=False)
    after = progress_of(2, 1, checked=True)

    assert (before.phase, after.phase) == ("Checking", "Serving")
    assert after.serving is not None
    assert (after.serving.replicas, after.serving.ready_replicas, after.serving.checked) == (2, 1, True)


@pytest.mark.parametrize(
    ("error", "reason", "exit_code"),
    [
        (NotInTime("no worker"), reasons.WORKERS_MISSING, 75),  # does not count against backoffLimit
        (ReplicasFailed("crashed"), reasons.REPLICAS_FAILED, 1),
        (ValueError("a bug"), reasons.INTERNAL_ERROR, 1),
    ],
)
def test_every_ending_asks_for_another_start(error: Exception, reason: str, exit_code: int) -> None:
    verdict = verdict_of(error)

    assert (verdict.outcome, verdict.reason, verdict.exit_code) == ("Retry", reason, exit_code)
