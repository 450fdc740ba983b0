"""What to tell a user in Events: the differences of two statuses, in words. It sends nothing."""

from dataclasses import dataclass
from typing import Final, Literal

from deepseek_operator.api.meta import Condition, RunStatus
from deepseek_operator.status.conditions import (
    ACCEPTED,
    CONTROL_ACCEPTED,
    DATASETS_READY,
    HEALTHY,
    PODS_READY,
    REFUSED_BY_CLUSTER,
    REVISION_RECORDED,
    RUNNING,
    STOPPING,
    SUSPENDED,
)
from deepseek_operator.status.drift import DRIFT_DETECTED
from deepseek_operator.status.outcome import FAILED, SUCCEEDED
from deepseek_operator.status.pod_state import Trouble
from deepseek_operator.status.size import RESIZED, RESIZING

_GOOD_NEWS: Final = (ACCEPTED, PODS_READY, RUNNING, SUCCEEDED, SUSPENDED, REVISION_RECORDED, RESIZED)
_BAD_NEWS: Final = (ACCEPTED, CONTROL_ACCEPTED, REVISION_RECORDED)  # when they do not hold
_OBSTACLES: Final = (Trouble.IMAGE, Trouble.CONFIG, Trouble.UNSCHEDULABLE, REFUSED_BY_CLUSTER)


@dataclass(frozen=True)
class ResourceEvent:
    """`occasion` tells two events of the same words apart, for instance by the pod or the epoch."""

    type: Literal["Normal", "Warning"]
    reason: str  # CamelCase
    note: str
    action: str = "Reconcile"
    occasion: str = ""


def events_between(old: RunStatus, new: RunStatus) -> list[ResourceEvent]:
    """What changed, worth telling: a condition's status or reason, a lost or broken pod, a new warning."""
    before = {condition.type: condition for condition in old.conditions}
    events = []
    for condition in new.conditions:
        earlier = before.get(condition.type)
        if earlier is None or (earlier.status, earlier.reason) != (condition.status, condition.reason):
            events += _of_condition(condition, earlier)
    if new.last_failure and new.last_failure != old.last_failure:
        occasion = f"epoch {new.epoch}"
        events.append(ResourceEvent("Warning", "Interrupted", new.last_failure, occasion=occasion))
    events += [
        ResourceEvent("Warning", "RunWarning", warning)
        for warning in new.warnings
        if warning not in old.warnings
    ]
    return events


def drift_event(old: RunStatus, new: RunStatus) -> ResourceEvent | None:
    """Of a drift check that ended otherwise than the one before, or found other figures of a drift."""
    before, now = (
        next((c for c in each.conditions if c.type == DRIFT_DETECTED), None) for each in (old, new)
    )
    if now is None or (before is not None and (before.status, before.message) == (now.status, now.message)):
        return None
    if now.status == "True":
        return ResourceEvent("Warning", DRIFT_DETECTED, now.message)
    if before is not None and (before.status, before.reason) == (now.status, now.reason):
        return None
    kind: Literal["Normal", "Warning"] = "Normal" if now.status == "False" else "Warning"
    return ResourceEvent(kind, now.reason, now.message, occasion=_occasion(now))


def _of_condition(condition: Condition, earlier: Condition | None) -> list[ResourceEvent]:
    kind, holds, occasion = condition.type, condition.status == "True", _occasion(condition)
    if kind in _GOOD_NEWS and holds and (earlier is None or earlier.status != "True"):
        return [ResourceEvent("Normal", kind, condition.message, occasion=occasion)]
    unknown = kind == RUNNING and condition.status == "Unknown"
    if (kind == FAILED and holds) or (kind in _BAD_NEWS and not holds) or unknown:
        return [ResourceEvent("Warning", condition.reason, condition.message, occasion=occasion)]
    if kind == DATASETS_READY and condition.status == "False":
        return [ResourceEvent("Normal", condition.reason, condition.message, occasion=occasion)]
    if kind == PODS_READY and not holds and condition.reason in _OBSTACLES:
        return [ResourceEvent("Warning", condition.reason, condition.message, occasion=occasion)]
    if kind == HEALTHY and not holds:
        return [ResourceEvent("Warning", condition.reason, condition.message, occasion=occasion)]
    if kind == SUSPENDED and not holds and condition.reason == STOPPING:
        return [ResourceEvent("Normal", "Suspending", condition.message, occasion=occasion)]
    if kind == RESIZED and not holds:
        severity: Literal["Normal", "Warning"] = "Normal" if condition.reason == RESIZING else "Warning"
        return [ResourceEvent(severity, condition.reason, condition.message, occasion=occasion)]
    return []


def _occasion(condition: Condition) -> str:
    return condition.last_transition_time.isoformat()
