"""What to tell a user of a service in Events: the differences of two statuses, in words. It sends nothing."""

from typing import Final

from deepseek_operator.api.meta import Condition
from deepseek_operator.api.model_service_status import CandidateRevision, ServiceStatus
from deepseek_operator.status.candidate import OBSTACLES, REFUSED_BY_CLUSTER
from deepseek_operator.status.conditions import ACCEPTED, PROGRESSING, SUSPENDED
from deepseek_operator.status.events import ResourceEvent
from deepseek_operator.status.service_conditions import (
    AVAILABLE,
    COMPLETE,
    REPLICAS_NOT_READY,
    REVISION_FAILED,
    REVISION_FOUND,
)

_OBSTACLES: Final = (*OBSTACLES, REFUSED_BY_CLUSTER)


def service_events(old: ServiceStatus, new: ServiceStatus) -> list[ResourceEvent]:
    """What changed, worth telling: the rollout's steps, a condition's status or reason, a lost pod."""
    before = {condition.type: condition for condition in old.conditions}
    events = [*_of_candidate(old.candidate, new), *_of_switch(old, new)]
    for condition in new.conditions:
        earlier = before.get(condition.type)
        if earlier is None or (earlier.status, earlier.reason) != (condition.status, condition.reason):
            events += _of_condition(condition, earlier)
    if new.last_failure and new.last_failure != old.last_failure:
        events.append(ResourceEvent("Warning", "Interrupted", new.last_failure))
    return events


def _of_candidate(old: CandidateRevision | None, new: ServiceStatus) -> list[ResourceEvent]:
    candidate = new.candidate
    if candidate is None:
        return []
    same = old is not None and old.cluster_id == candidate.cluster_id
    occasion = candidate.since.isoformat()
    if not same:
        beside = f" beside {new.active.revision}, which goes on serving" if new.active else ""
        note = f"revision {candidate.revision} is brought up{beside}"
        return [ResourceEvent("Normal", "RolloutStarted", note, occasion=occasion)]
    if candidate.checked and old is not None and not old.checked:
        note = f"revision {candidate.revision} has passed its check"
        if candidate.bits_per_byte:
            note += f" with {candidate.bits_per_byte} bits per byte on held-out text"
        return [ResourceEvent("Normal", "RevisionChecked", note, occasion=occasion)]
    return []


def _of_switch(old: ServiceStatus, new: ServiceStatus) -> list[ResourceEvent]:
    if new.active is None or (old.active and old.active.cluster_id == new.active.cluster_id):
        return []
    note = f"requests go to revision {new.active.revision}"
    if old.active is not None:
        note += f"; {old.active.revision} finishes what it has begun"
    return [ResourceEvent("Normal", "Switched", note, occasion=new.active.since.isoformat())]


def _of_condition(condition: Condition, earlier: Condition | None) -> list[ResourceEvent]:
    kind, holds, occasion = condition.type, condition.status == "True", _occasion(condition)
    if (kind == REVISION_FAILED and holds) or (kind == ACCEPTED and not holds):
        return [ResourceEvent("Warning", condition.reason, condition.message, occasion=occasion)]
    turned = earlier is None or earlier.status != condition.status
    if holds and turned and kind in (ACCEPTED, AVAILABLE, SUSPENDED):
        return [ResourceEvent("Normal", kind, condition.message, occasion=occasion)]
    if kind == AVAILABLE and condition.reason == REPLICAS_NOT_READY:
        return [ResourceEvent("Warning", condition.reason, condition.message, occasion=occasion)]
    if kind == REVISION_FOUND and not holds:
        return [ResourceEvent("Normal", condition.reason, condition.message, occasion=occasion)]
    if kind == PROGRESSING and not holds and condition.reason in _OBSTACLES:
        return [ResourceEvent("Warning", condition.reason, condition.message, occasion=occasion)]
    if kind == PROGRESSING and condition.reason == COMPLETE:
        return [ResourceEvent("Normal", "RolloutComplete", condition.message, occasion=occasion)]
    return []


def _occasion(condition: Condition) -> str:
    return condition.last_transition_time.isoformat()
