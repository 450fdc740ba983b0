"""Facts of a pod from its JSON, at each stage of its life."""

from datetime import UTC, datetime
from typing import Any

from deepseek_operator.status.pods import pod_facts

CREATED = "2026-11-22T12:00:00Z"


def _pod(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    labels = {"deepseek.dev/role": "worker", "deepseek.dev/index": "3", "deepseek.dev/incarnation": "2"}
    meta = {"name": "p", "uid": "u", "creationTimestamp": CREATED, "labels": labels}
    return {"metadata": meta | metadata, "spec": {"nodeName": "node1"}, "status": status or {}}


def test_a_pod_that_was_just_created() -> None:
    facts = pod_facts(_pod())
    assert (facts.role, facts.index, facts.incarnation) == ("worker", 3, 2)
    assert (facts.phase, facts.ready, facts.exit, facts.ended) == ("Pending", False, None, False)
    assert facts.created_at == datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_the_schedulers_message_is_kept() -> None:
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    facts = pod_facts(_pod({"phase": "Pending", "conditions": [condition]}))
    assert facts.unschedulable == message
    assert facts.scheduled_at is None


def test_a_pod_that_waits_for_its_image() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": CREATED}]
    status = {"conditions": conditions, "containerStatuses": [{"state": {"waiting": waiting}}]}
    facts = pod_facts(_pod(status))
    assert (facts.waiting_reason, facts.waiting_message) == ("ImagePullBackOff", "Back-off pulling image")
    assert facts.scheduled_at == facts.created_at


def test_a_pod_that_ended_with_a_message() -> None:
    terminated = {"exitCode": 137, "reason": "OOMKilled", "message": "m", "finishedAt": CREATED}
    status = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]}
    facts = pod_facts(_pod(status))
    assert facts.exit is not None
    assert (facts.exit.exit_code, facts.exit.reason, facts.exit.message) == (137, "OOMKilled", "m")
    assert facts.ended


def test_a_disruption_is_kept_only_while_it_holds() -> None:
    for status, expected in (("True", "DeletionByTaintManager"), ("False", "")):
        condition = {"type": "DisruptionTarget", "status": status, "reason": "DeletionByTaintManager"}
        assert pod_facts(_pod({"conditions": [condition]})).disruption == expected


def test_failures_of_earlier_pods_come_from_the_annotation() -> None:
    assert pod_facts(_pod(annotations={"deepseek.dev/failures": "4"})).failures == 4
    assert pod_facts(_pod(annotations={"deepseek.dev/failures": "nonsense"})).failures == 0
