"""What is the matter with a pod, and whether it counts as a failure."""

from typing import Any

import pytest

from deepseek_operator.status.observed import ContainerExit
from deepseek_operator.status.pod_state import Trouble, classify, failures_of, verdict_of
from deepseek_workloads.contract.messages import Verdict

FAILED = {"phase": "Failed", "ready": False}
PENDING = {"phase": "Pending", "ready": False}


@pytest.mark.parametrize(
    ("facts", "trouble", "over", "counts", "words"),
    [
        ({}, Trouble.NONE, False, False, "runs"),
        (
            PENDING | {"unschedulable": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."},
            Trouble.UNSCHEDULABLE,
            False,
            False,
            "Insufficient nvidia.com/gpu",
        ),
        (PENDING | {"waiting_reason": "ContainerCreating"}, Trouble.STARTING, False, False, "is starting"),
        (
            PENDING | {"waiting_reason": "ErrImagePull", "waiting_message": "no such image"},
            Trouble.IMAGE,
            False,
            False,
            "cannot pull its image: no such image",
        ),
        (PENDING | {"waiting_reason": "InvalidImageName"}, Trouble.IMAGE, False, False, "cannot pull"),
        (
            PENDING
            | {
                "waiting_reason": "CreateContainerConfigError",
                "waiting_message": 'secret "s3-credentials" not found',
            },
            Trouble.CONFIG,
            False,
            False,
            's3-credentials" not found',
        ),
        (
            FAILED | {"exit": ContainerExit(137, reason="OOMKilled")},
            Trouble.OOM_KILLED,
            True,
            True,
            "more memory than its limit",
        ),
        (
            FAILED | {"exit": ContainerExit(1, message="Traceback\nValueError: x")},
            Trouble.CRASHED,
            True,
            True,
            "exit code 1: ValueError: x",
        ),
        (FAILED | {"exit": ContainerExit(143)}, Trouble.CRASHED, True, True, "exit code 143"),
        (
            FAILED | {"reason": "Evicted", "message": "The node was low on resource: memory."},
            Trouble.EVICTED,
            True,
            False,
            "low on resource",
        ),
        (
            FAILED | {"disruption": "PreemptionByScheduler", "exit": ContainerExit(143)},
            Trouble.PREEMPTED,
            True,
            False,
            "preempted",
        ),
        (
            {"disruption": "DeletionByTaintManager", "deleting": True},
            Trouble.NODE_LOST,
            True,
            False,
            "lost with its node",
        ),
        ({"deleting": True}, Trouble.DELETED, True, False, "was deleted"),
        (
            {"phase": "Succeeded", "ready": False, "exit": ContainerExit(0)},
            Trouble.ENDED,
            True,
            False,
            "ended",
        ),
        (FAILED, Trouble.CRASHED, True, True, "failed"),
        (FAILED | {"reason": "NodeLost"}, Trouble.NODE_LOST, True, False, "lost with its node"),
        (FAILED | {"reason": "OutOfmemory"}, Trouble.EVICTED, True, False, "evicted"),
    ],
    ids=lambda value: value.value if isinstance(value, Trouble) else None,
)
def test_classification(
    make_pod: Any, facts: dict[str, Any], trouble: Trouble, over: bool, counts: bool, words: str
) -> None:
    state = classify(make_pod(**facts))
    assert (state.trouble, state.over, state.counts) == (trouble, over, counts)
    assert words in state.message
    assert "dsjob-tiny-worker-0-1" in state.message


def test_failures_of_a_place_include_the_pods_own(make_pod: Any) -> None:
    assert failures_of(make_pod(failures=2)) == 2
    assert failures_of(make_pod(failures=2, phase="Failed", exit=ContainerExit(1))) == 3


def test_a_verdict_is_read_from_the_termination_message(make_ended: Any) -> None:
    verdict = Verdict(outcome="Failed", reason="AccessDenied", message="no", exit_code=3)
    assert verdict_of(make_ended(verdict)) == verdict


@pytest.mark.parametrize("message", ["", "Traceback (most recent call last)", "{}", "null", "[1]"])
def test_other_messages_are_no_verdict(make_pod: Any, message: str) -> None:
    assert verdict_of(make_pod(exit=ContainerExit(1, message=message))) is None
