"""The conditions of a service, a function each: (view) -> what it says of one aspect. Pure.

Reasons are CamelCase words for programs; messages say what to do.
"""

from dataclasses import dataclass
from typing import Final

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.resources.stable_service import service_url
from deepseek_operator.status.candidate import worst_obstacle
from deepseek_operator.status.conditions import (
    ACCEPTED,
    NAME_CONFLICT,
    PROGRESSING,
    SUSPENDED,
)
from deepseek_operator.status.draft import Draft
from deepseek_operator.status.rollout import Rollout
from deepseek_operator.status.service_observed import NO_CLUSTER, ClusterFacts, ServiceObserved

REVISION_FOUND: Final = "RevisionFound"
AVAILABLE: Final = "Available"
REVISION_FAILED: Final = "RevisionFailed"

REVISION_NOT_FOUND: Final = "RevisionNotFound"
NO_ACTIVE_REVISION: Final = "NoActiveRevision"
REPLICAS_NOT_READY: Final = "ReplicasNotReady"
SERVICE_NOT_SELECTING: Final = "ServiceNotSelecting"
COMPLETE: Final = "Complete"
NOT_SUSPENDED: Final = "NotSuspended"
STOPPING: Final = "Stopping"
DRAINING: Final = "Draining"


@dataclass(frozen=True)
class ServiceView:
    service: DeepSeekModelService
    observed: ServiceObserved
    rollout: Rollout

    @property
    def active_facts(self) -> ClusterFacts:
        active = self.rollout.active
        return self.observed.cluster(active.cluster_id) if active is not None else NO_CLUSTER

    @property
    def desired(self) -> int:
        """Replicas that should answer, also while no revision can."""
        return 0 if self.service.spec.suspend else self.service.spec.replicas.min

    @property
    def ready(self) -> int:
        return len(self.active_facts.ready_replicas(self.service.spec.replicas.min))

    @property
    def selected(self) -> bool:
        """The stable Service is there and selects the active revision."""
        active = self.rollout.active
        return active is not None and self.observed.selected == active.cluster_id

    @property
    def any_pod(self) -> bool:
        return any(facts.pods for facts in self.observed.clusters.values())


def accepted(view: ServiceView) -> Draft:
    observed = view.observed
    if observed.conflict:
        return Draft(ACCEPTED, "False", NAME_CONFLICT, observed.conflict)
    if observed.problems:
        message = "; ".join(str(problem) for problem in observed.problems)
        return Draft(ACCEPTED, "False", observed.problems[0].reason, message)
    return Draft(ACCEPTED, "True", ACCEPTED, "the spec is possible")


def revision_found(view: ServiceView) -> Draft:
    target = view.observed.target
    if target is None:
        return Draft(REVISION_FOUND, "False", REVISION_NOT_FOUND, view.observed.missing or "not looked up")
    return Draft(REVISION_FOUND, "True", "Found", f"DeepSeekModelRevision {target.revision} is to be served")


def available(view: ServiceView) -> Draft:
    """Whether requests are answered."""
    active = view.rollout.active
    if view.service.spec.suspend:
        return Draft(AVAILABLE, "False", SUSPENDED, "spec.suspend is true: set it to false to serve again")
    if active is None:
        return Draft(AVAILABLE, "False", NO_ACTIVE_REVISION, "no revision has passed its check yet")
    if view.ready and view.selected:
        words = f"revision {active.revision} answers at {service_url(view.service)}"
        return Draft(AVAILABLE, "True", AVAILABLE, words)
    if view.ready:
        message = f"the Service does not lead to revision {active.revision} yet: it is put right"
        return Draft(AVAILABLE, "False", SERVICE_NOT_SELECTING, message)
    obstacle = worst_obstacle(view.active_facts)
    why = view.active_facts.refused or (obstacle.message if obstacle is not None else "its pods are starting")
    message = f"no replica of revision {active.revision} is ready: {why}"
    return Draft(AVAILABLE, "False", REPLICAS_NOT_READY, message)


def progressing(view: ServiceView) -> Draft:
    """True: a rollout is under way. False: there is none, or something must happen outside of it first."""
    candidate, target = view.rollout.candidate, view.observed.target
    if view.service.spec.suspend:
        return Draft(PROGRESSING, "False", SUSPENDED, "the service is suspended")
    if view.observed.conflict or view.observed.problems:
        return Draft(PROGRESSING, "False", accepted(view).reason, "see condition Accepted")
    if target is None:
        return Draft(PROGRESSING, "False", REVISION_NOT_FOUND, "see condition RevisionFound")
    if candidate is None:
        return _settled(view)
    words = f"revision {candidate.revision}: {candidate.message}"
    moving = candidate.phase in ("Starting", "Checking", "Ready")
    return Draft(PROGRESSING, "True" if moving else "False", candidate.reason, words)


def revision_failed(view: ServiceView) -> Draft:
    candidate, active = view.rollout.candidate, view.rollout.active
    if candidate is None or candidate.phase != "Failed":
        return Draft(REVISION_FAILED, "False", "NotFailed", "no revision is given up")
    goes_on = f"{active.revision} goes on serving" if active else "no revision serves"
    message = (
        f"revision {candidate.revision} has failed: {candidate.message}; it got no request, {goes_on}; it is "
        "tried again when the revision, or the spec's check, deadline, engine or pods change, and after a "
        "suspension"
    )
    return Draft(REVISION_FAILED, "True", candidate.reason, message)


def suspended(view: ServiceView) -> Draft | None:
    """None for a service that was never suspended."""
    if view.service.spec.suspend:
        if view.any_pod:
            return Draft(SUSPENDED, "False", STOPPING, "answers are finished, then the pods end")
        return Draft(SUSPENDED, "True", SUSPENDED, "no pod runs; set spec.suspend to false to serve again")
    known = any(condition.type == SUSPENDED for condition in view.service.status.conditions)
    return Draft(SUSPENDED, "False", NOT_SUSPENDED, "spec.suspend is false") if known else None


def _settled(view: ServiceView) -> Draft:
    active = view.rollout.active
    assert active is not None  # else there would be a candidate
    if any(each.served for each in view.rollout.retired):
        message = f"requests go to revision {active.revision}; the one before finishes what it has begun"
        return Draft(PROGRESSING, "True", DRAINING, message)
    return Draft(
        PROGRESSING, "False", COMPLETE, f"revision {active.revision} is the one to serve, and serves"
    )
