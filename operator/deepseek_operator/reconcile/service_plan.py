"""What to do with the clusters of one service now, given its new status. Pure.

The status says which cluster is active, which one a candidate, which are retired; this says which pods follow
from that, where the stable Service points, and what is collected.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from deepseek_operator.api.meta import PodSetStatus
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.model_service_status import RetiredCluster
from deepseek_operator.reconcile.plan import Intervals, used_incarnations
from deepseek_operator.reconcile.pod_changes import (
    NO_CHANGES,
    PodChanges,
    keep_running,
    remove_surplus,
    tear_down,
)
from deepseek_operator.status.rollout import HOLD, Rollout, may_drain, may_switch
from deepseek_operator.status.service_observed import ServiceObserved

# A pod that has served so long is not punished for what happened to those before it.
_FORGIVE_AFTER: Final = timedelta(seconds=600)


@dataclass(frozen=True)
class ServicePlan:
    pods: Mapping[str, PodChanges] = field(default_factory=dict)  # by cluster
    serving: tuple[str, ...] = ()  # clusters whose pods are kept running
    select: str = ""  # the cluster that the stable Service is to select; empty: leave it alone
    collect: tuple[str, ...] = ()  # clusters of which nothing runs: their objects are deleted
    after: float | None = None  # seconds until the next look; None: when something happens


def plan_service(
    service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved, *, intervals: Intervals
) -> ServicePlan:
    pods = {
        **_of_active(service, rollout, observed),
        **_of_candidate(service, rollout, observed),
        **{each.cluster_id: _of_retired(service, each, rollout, observed) for each in rollout.retired},
    }
    kept = (rollout.active, rollout.candidate if _goes_on(rollout) else None)
    serving = () if service.spec.suspend else tuple(each.cluster_id for each in kept if each is not None)
    select = _select(service, rollout, observed)
    collect = tuple(
        each.cluster_id
        for each in rollout.retired
        if not observed.cluster(each.cluster_id).pods and observed.cluster(each.cluster_id).run_config_uid
    )
    waits = [changes.after for changes in pods.values() if changes.after is not None]
    if select and select != observed.selected:
        waits.append(0.0)  # the next pass sees what the Service selects, and says so
    waits += _looks(service, rollout, observed, intervals)
    return ServicePlan(pods, serving, select, collect, min(waits, default=None))


def _of_active(
    service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved
) -> dict[str, PodChanges]:
    active = rollout.active
    if active is None:
        return {}
    pods = observed.cluster(active.cluster_id).pods
    if service.spec.suspend:
        changes = tear_down(pods, now=observed.now, keep_ended_coordinator=False)
    else:
        changes = _serve(service, observed, active.cluster_id, active.pods)
    return {active.cluster_id: changes}


def _of_candidate(
    service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved
) -> dict[str, PodChanges]:
    """Nothing is created before the status has told of the cluster: what exists can then always be found."""
    candidate, told = rollout.candidate, service.status.candidate
    if candidate is None or told is None or told.cluster_id != candidate.cluster_id:
        return {}
    if candidate.phase == "Failed":
        pods = observed.cluster(candidate.cluster_id).pods
        changes = tear_down(pods, now=observed.now, keep_ended_coordinator=True)
    else:
        changes = _serve(service, observed, candidate.cluster_id, candidate.pods)
    return {candidate.cluster_id: changes}


def _serve(
    service: DeepSeekModelService, observed: ServiceObserved, cluster: str, status: PodSetStatus | None
) -> PodChanges:
    """For ever: a pod that ends, however, is replaced; after crashes ever slower."""
    number, pods = service.spec.replicas.min, observed.cluster(cluster).pods
    used = used_incarnations(status)
    kept = keep_running(pods, num_workers=number, now=observed.now, used=used, forgive_after=_FORGIVE_AFTER)
    return kept + remove_surplus(pods, num_workers=number)


def _of_retired(
    service: DeepSeekModelService, retired: RetiredCluster, rollout: Rollout, observed: ServiceObserved
) -> PodChanges:
    """Pods drain by themselves when they are deleted: what they have begun is answered."""
    pods = observed.cluster(retired.cluster_id).pods
    if not pods:
        return NO_CHANGES
    if retired.served and not may_drain(service, rollout, observed):
        return PodChanges(after=HOLD.total_seconds() / 2)
    return tear_down(pods, now=observed.now, keep_ended_coordinator=False)


def _select(service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved) -> str:
    if observed.conflict:
        return ""
    if rollout.candidate is not None and may_switch(service, rollout, observed):
        return rollout.candidate.cluster_id
    return rollout.active.cluster_id if rollout.active is not None else ""


def _looks(
    service: DeepSeekModelService, rollout: Rollout, observed: ServiceObserved, intervals: Intervals
) -> list[float]:
    """When to look although nothing was heard."""
    candidate, told = rollout.candidate, service.status.candidate
    if candidate is not None and (told is None or told.cluster_id != candidate.cluster_id):
        return [0.0]
    if candidate is not None and _goes_on(rollout):
        return [HOLD.total_seconds() / 2 if candidate.phase == "Ready" else intervals.progress]
    if rollout.retired or (service.spec.suspend and any(f.pods for f in observed.clusters.values())):
        return [intervals.progress]
    if observed.target is None or observed.conflict or any(f.refused for f in observed.clusters.values()):
        return [intervals.waiting]
    return [intervals.resync]


def _goes_on(rollout: Rollout) -> bool:
    """There is a candidate, and it is not given up."""
    return rollout.candidate is not None and rollout.candidate.phase != "Failed"
