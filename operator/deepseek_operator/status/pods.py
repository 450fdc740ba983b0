"""From a Pod as JSON to facts. Missing parts are normal: a pod's status is filled bit by bit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deepseek_operator.resources.names import (
    ANNOTATION_FAILURES,
    ANNOTATION_NODES,
    LABEL_CLUSTER,
    LABEL_INCARNATION,
    LABEL_INDEX,
    LABEL_ROLE,
)
from deepseek_operator.status.observed import ContainerExit, PodFacts

Document = Mapping[str, Any]


def pod_facts(pod: Document) -> PodFacts:
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    container: Document = next(iter(status.get("containerStatuses") or []), {})
    waiting = (container.get("state") or {}).get("waiting") or {}
    scheduled = conditions.get("PodScheduled", {})
    disrupted = conditions.get("DisruptionTarget", {})
    annotations: Document = metadata.get("annotations") or {}
    return PodFacts(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        role=labels.get(LABEL_ROLE, ""),
        index=_number(labels.get(LABEL_INDEX)),
        incarnation=_number(labels.get(LABEL_INCARNATION)),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        owner_uid=next((owner["uid"] for owner in metadata.get("ownerReferences") or []), ""),
        cluster=labels.get(LABEL_CLUSTER, ""),
        failures=_number(annotations.get(ANNOTATION_FAILURES)),
        nodes=_number(annotations.get(ANNOTATION_NODES)),
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        deleting=bool(metadata.get("deletionTimestamp")),
        grace_ends_at=_time(metadata.get("deletionTimestamp")),
        ip=status.get("podIP", ""),
        node=(pod.get("spec") or {}).get("nodeName", ""),
        scheduled_at=_time(scheduled.get("lastTransitionTime"))
        if scheduled.get("status") == "True"
        else None,
        unschedulable=_unschedulable(scheduled),
        unschedulable_since=_time(scheduled.get("lastTransitionTime"))
        if scheduled.get("status") == "False"
        else None,
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        exit=_exit(container),
        disruption=disrupted.get("reason", "") if disrupted.get("status") == "True" else "",
        reason=status.get("reason", ""),
        message=status.get("message", ""),
    )


def _unschedulable(scheduled: Document) -> str:
    if scheduled.get("status") != "False":
        return ""
    return str(scheduled.get("message") or scheduled.get("reason") or "the scheduler gives no reason")


def _exit(container: Document) -> ContainerExit | None:
    terminated = (container.get("state") or {}).get("terminated")
    if not terminated:
        return None
    return ContainerExit(
        exit_code=terminated.get("exitCode", -1),
        reason=terminated.get("reason", ""),
        message=terminated.get("message", ""),
        finished_at=_time(terminated.get("finishedAt")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
