"""Which revision is active, which one is a candidate, and what is left to remove, as observed. Pure.

What the stable Service selects is active: that is where requests go, whatever a status says. A candidate gets
no request before it is checked and ready; one that fails stays in the status and is not tried again until the
target, the check or the deadline changes.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.model_service_status import (
    ActiveRevision,
    CandidateRevision,
    RetiredCluster,
    ServedRevision,
    ServiceStatus,
    Switch,
)
from deepseek_operator.status import text
from deepseek_operator.status.candidate import assess
from deepseek_operator.status.pod_set_status import pod_set_status
from deepseek_operator.status.service_observed import ServiceObserved

# A candidate that is ready, and a revision that has just become active, are left alone so long.
HOLD: Final = timedelta(seconds=2)
_MAX_RETIRED: Final = 64


@dataclass(frozen=True)
class Rollout:
    active: ActiveRevision | None
    candidate: CandidateRevision | None
    retired: list[RetiredCluster]
    history: list[Switch]


def next_rollout(service: DeepSeekModelService, observed: ServiceObserved) -> Rollout:
    """Equal inputs give equal outputs."""
    active = _active(service, observed)
    candidate = _candidate(service, observed, active)
    return Rollout(
        active=active,
        candidate=candidate,
        retired=_retired(service, observed, active=active, candidate=candidate),
        history=_history(service, active),
    )


def active_cluster(status: ServiceStatus, selected: str) -> str:
    """The cluster that gets the requests; empty: none. `selected`: by the stable Service.

    A Service that somebody deleted, or pointed to a cluster that is not ready, is put right instead.
    """
    candidate = status.candidate
    if candidate is not None and candidate.cluster_id == selected and candidate.phase == "Ready":
        return selected
    return status.active.cluster_id if status.active is not None else selected


def may_switch(service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved) -> bool:
    """Whether requests go to the candidate now."""
    candidate = rollout.candidate
    return (
        candidate is not None
        and candidate.phase == "Ready"
        and observed.now - candidate.phase_since >= HOLD
        and not observed.conflict
        and not service.spec.suspend
    )


def may_drain(service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved) -> bool:
    """Whether a cluster that served is no longer needed: requests are known to go to the active one."""
    active = rollout.active
    if active is None or service.spec.suspend:
        return True
    ready = observed.cluster(active.cluster_id).ready_replicas(service.spec.replicas.min)
    spread = bool(ready) and {pod.uid for pod in ready} <= observed.endpoints
    return spread and observed.now - active.since >= HOLD


def _active(service: DeepSeekModelService, observed: ServiceObserved) -> ActiveRevision | None:
    known, cluster = service.status.active, active_cluster(service.status, observed.selected)
    desired = 0 if service.spec.suspend else service.spec.replicas.min
    if known is None or known.cluster_id != cluster:
        known = _promoted(service.status.candidate, observed, cluster) or _recovered(observed, cluster)
    if known is None:
        return None
    pods = pod_set_status(observed.cluster(known.cluster_id).pods, desired=desired, earlier=known.pods)
    return known.model_copy(update={"pods": pods})


def _promoted(
    candidate: CandidateRevision | None, observed: ServiceObserved, cluster: str
) -> ActiveRevision | None:
    if candidate is None or candidate.cluster_id != cluster:
        return None
    common = candidate.model_dump(include=set(ServedRevision.model_fields))
    return ActiveRevision(**common, since=observed.now)


def _recovered(observed: ServiceObserved, cluster: str) -> ActiveRevision | None:
    """The status was lost: what the Service selects says in its ConfigMap what it is."""
    facts = observed.cluster(cluster)
    if facts.run is None:
        return None
    return ActiveRevision(
        revision=facts.run.revision.name,
        uid=facts.run.revision.uid,
        digest=facts.run.revision.digest,
        short_digest=text.short_digest(facts.run.revision.digest),
        cluster_id=cluster,
        template_hash=facts.template_hash,
        served_model_name=facts.run.served_model_name,
        since=observed.now,
    )


def _candidate(
    service: DeepSeekModelService, observed: ServiceObserved, active: ActiveRevision | None
) -> CandidateRevision | None:
    target, earlier = observed.target, service.status.candidate
    if target is None or observed.problems or observed.conflict or service.spec.suspend:
        return None
    if active is not None and active.template_hash == target.template_hash:
        return None
    if earlier is not None and earlier.cluster_id == observed.target_cluster:
        facts = observed.cluster(earlier.cluster_id)
        pods = pod_set_status(facts.pods, desired=service.spec.replicas.min, earlier=earlier.pods)
        return assess(
            earlier.model_copy(update={"pods": pods}),
            facts,
            spec=service.spec,
            now=observed.now,
            operator_since=observed.operator_since,
        )
    return CandidateRevision(
        revision=target.revision,
        uid=target.uid,
        digest=target.digest,
        short_digest=text.short_digest(target.digest),
        cluster_id=observed.target_cluster,
        template_hash=target.template_hash,
        served_model_name=target.run.served_model_name,
        reason="Starting",
        message="its coordinator is being created",
        since=observed.now,
        phase_since=observed.now,
        progressing_since=observed.now,
    )


def _retired(
    service: DeepSeekModelService,
    observed: ServiceObserved,
    *,
    active: ActiveRevision | None,
    candidate: CandidateRevision | None,
) -> list[RetiredCluster]:
    """Every cluster that there was and that is neither; it is forgotten when nothing of it is left."""
    status = service.status
    wanted = {each.cluster_id for each in (active, candidate) if each is not None}
    served = {each.cluster_id: each.served for each in status.retired}
    served |= {each: False for each in observed.clusters if each not in served}
    served |= {status.active.cluster_id: True} if status.active else {}
    left = [each for each in served if each not in wanted and not observed.cluster(each).gone]
    return [RetiredCluster(cluster_id=each, served=served[each]) for each in left][:_MAX_RETIRED]


def _history(service: DeepSeekModelService, active: ActiveRevision | None) -> list[Switch]:
    history: list[Switch] = service.status.history
    before = service.status.active
    if active is not None and (before is None or before.cluster_id != active.cluster_id):
        switch: dict[str, Any] = active.model_dump(include={"revision", "digest", "cluster_id"})
        history = [Switch(**switch, time=active.since), *history]
    return history[: service.spec.rollout.revision_history_limit]
