"""The status of a DeepSeekModelService from what was observed. Pure; equal inputs give equal outputs."""

from typing import Final

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.model_service_status import ServiceStatus
from deepseek_operator.resources.stable_service import service_url
from deepseek_operator.status import service_conditions as conditions
from deepseek_operator.status.conditions import SUSPENDED
from deepseek_operator.status.draft import merge
from deepseek_operator.status.pod_state import Trouble, classify
from deepseek_operator.status.rollout import Rollout
from deepseek_operator.status.service_conditions import ServiceView
from deepseek_operator.status.service_observed import ServiceObserved
from deepseek_operator.status.text import long

REFUSED: Final = "Refused"
WAITING: Final = "Waiting"
PENDING: Final = "Pending"
ROLLING_OUT: Final = "RollingOut"
DEGRADED: Final = "Degraded"
SERVING: Final = "Serving"
SUSPENDING: Final = "Suspending"
FAILED: Final = "Failed"

_CONDITIONS: Final = (
    conditions.accepted,
    conditions.revision_found,
    conditions.available,
    conditions.progressing,
    conditions.revision_failed,
    conditions.suspended,
)


def compute_status(
    service: DeepSeekModelService, observed: ServiceObserved, rollout: Rollout
) -> ServiceStatus:
    """The whole new status; `rollout` is `next_rollout` of the same inputs."""
    view = ServiceView(service, observed, rollout)
    drafts = [draft for function in _CONDITIONS if (draft := function(view)) is not None]
    generation = service.metadata.generation
    return service.status.model_copy(
        update={
            "observed_generation": generation,
            "state": state_of(view),
            "conditions": merge(service.status.conditions, drafts, now=observed.now, generation=generation),
            "active": rollout.active,
            "candidate": rollout.candidate,
            "retired": rollout.retired,
            "history": rollout.history,
            "replicas": view.desired,
            "ready_replicas": view.ready,
            "ready": f"{view.ready}/{view.desired}",
            "url": service_url(service) if view.selected else "",
            "last_failure": long(_last_failure(view)),
        }
    )


def state_of(view: ServiceView) -> str:
    """One word for the STATE column."""
    candidate = view.rollout.candidate
    if view.service.spec.suspend:
        return SUSPENDING if view.any_pod else SUSPENDED
    if view.observed.conflict or view.observed.problems:
        return REFUSED
    if candidate is not None and candidate.phase == "Pending":
        return PENDING if candidate.reason == Trouble.UNSCHEDULABLE else candidate.reason
    if candidate is not None and candidate.phase != "Failed":
        return ROLLING_OUT
    if view.rollout.active is None:
        return FAILED if candidate is not None else WAITING
    return SERVING if view.ready == view.desired and view.selected else DEGRADED


def _last_failure(view: ServiceView) -> str:
    """Of the active revision's pods, the newest first; one that is replaced already is looked at as well."""
    if not view.service.spec.suspend:
        facts = view.active_facts
        wanted = [pod for pod in facts.pods if pod.index < view.desired]
        for pod in sorted(wanted, key=lambda each: (each.created_at, each.name), reverse=True):
            state = classify(pod)
            if state.counts or state.lost:
                return state.message
    return view.service.status.last_failure
