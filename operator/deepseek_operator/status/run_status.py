"""The parts of a status that training jobs and datasets share: STATE, conditions, pods, times, failures."""

from collections.abc import Iterable
from typing import Any

from deepseek_operator.api.meta import PodSetStatus, RunStatus
from deepseek_operator.status import conditions
from deepseek_operator.status.conditions import ConditionOf, Silence, drafts_of
from deepseek_operator.status.draft import merge
from deepseek_operator.status.outcome import FAILED, SUCCEEDED, memory_words
from deepseek_operator.status.pod_set_status import pod_set_status
from deepseek_operator.status.pod_state import Trouble, classify, failures_of
from deepseek_operator.status.restarts import count_restarts
from deepseek_operator.status.size import RESIZING
from deepseek_operator.status.text import count, long, short
from deepseek_operator.status.view import WORKING, View

REFUSED = "Refused"
WAITING = "Waiting"
PENDING = "Pending"
SUSPENDING = "Suspending"
UNKNOWN = "Unknown"

CONDITIONS: tuple[ConditionOf, ...] = (
    conditions.accepted,
    conditions.pods_ready,
    conditions.running,
    conditions.progressing,
    conditions.succeeded,
    conditions.failed,
    conditions.suspended,
    conditions.coordinator_reachable,
    conditions.control_accepted,
)


def common_fields(view: View, functions: Iterable[ConditionOf]) -> dict[str, Any]:
    """Fields of RunStatus by their names in Python."""
    status, observed, metadata = view.resource.status, view.observed, view.resource.metadata
    progress, restarts = observed.progress, count_restarts(view)
    return {
        "observed_generation": metadata.generation,
        "state": state_of(view),
        "conditions": merge(
            status.conditions,
            drafts_of(view, functions),
            now=observed.now,
            generation=metadata.generation,
        ),
        "run_config_digest": observed.run_config_digest or status.run_config_digest,
        "pods": _pods(view),
        "epoch": max(status.epoch, count(progress.epoch) if progress else 0),
        "restarts": restarts.total,
        "restarts_before": restarts.before,
        "failures": max(status.failures, _failures(view)),
        "last_failure": long(_last_failure(view)),
        "warnings": [short(text) for text in progress.warnings] if progress else status.warnings,
        "control_generation": count(progress.control_generation) if progress else status.control_generation,
        **_times(view, status),
    }


def state_of(view: View) -> str:
    """One word for the STATE column."""
    if view.outcome is not None:
        return SUCCEEDED if view.outcome.succeeded else FAILED
    if view.refused:
        return REFUSED
    if view.resource.spec.suspend:
        return SUSPENDING if view.any_active else conditions.SUSPENDED
    if view.observed.waiting:
        return WAITING
    if view.resizing and not view.observed.refused:
        return RESIZING
    draft = conditions.progressing(view)
    if draft.status == "False":
        return PENDING if draft.reason == Trouble.UNSCHEDULABLE else draft.reason
    if draft.reason == conditions.FINISHING:
        return conditions.FINISHING
    if view.phase in WORKING and draft.reason != conditions.RECOVERING:
        return str(view.phase)
    if draft.reason != conditions.RECOVERING and (state := _state_while_silent(view)):
        return state
    if draft.reason == conditions.RECOVERING or count_restarts(view).total:
        return conditions.RECOVERING
    return conditions.PREFLIGHT if view.phase == "Preflight" and not view.workers else conditions.STARTING


def _state_while_silent(view: View) -> str:
    """Empty: the coordinator answers, or nothing was known of its run."""
    silence, earlier = conditions.silence(view), view.resource.status.state
    if silence is Silence.LONG:
        return UNKNOWN
    return earlier if silence is Silence.BRIEF and earlier in WORKING else ""


def _pods(view: View) -> PodSetStatus:
    wanted = view.outcome is None and not view.refused and not view.resource.spec.suspend
    return pod_set_status(
        view.observed.members, desired=view.desired if wanted else 0, earlier=view.resource.status.pods
    )


def _failures(view: View) -> int:
    of_pods = sum(failures_of(pod) for pod, _ in view.states)
    return of_pods + (count(view.observed.progress.failures) if view.observed.progress else 0)


def _last_failure(view: View) -> str:
    """Losses are told too, though they do not count. The newest pod's first.

    A pod that is replaced already is looked at as well: an operator that ended between the creation of the
    replacement and the status has not told of it.
    """
    if view.outcome is None and not view.resource.spec.suspend:
        pods = sorted(view.observed.current_pods, key=lambda pod: (pod.created_at, pod.name), reverse=True)
        for pod, state in ((pod, classify(pod)) for pod in pods):
            if state.trouble is Trouble.OOM_KILLED:
                return f"{state.message}: {memory_words(view.resource, view.observed, role=pod.role)}"
            if state.counts or state.lost:
                return state.message
    progress = view.observed.progress
    return (progress.last_failure if progress else "") or view.resource.status.last_failure


def _times(view: View, status: RunStatus) -> dict[str, Any]:
    now, since, seconds = view.observed.now, status.suspended_since, status.suspended_seconds
    created = [pod.created_at for pod in view.observed.pods]
    suspended = view.resource.spec.suspend and view.outcome is None and not view.any_active
    if suspended:
        since = since or now
    elif since is not None:
        # Before the first start nothing runs that a deadline could be counted from.
        seconds += round((now - since).total_seconds()) if status.start_time is not None else 0
        since = None
    completion = status.completion_time
    if view.outcome is not None and completion is None:
        completion = view.outcome.at or now
    return {
        "start_time": status.start_time or min(created, default=None),
        "completion_time": completion,
        "suspended_since": since,
        "suspended_seconds": seconds,
    }
