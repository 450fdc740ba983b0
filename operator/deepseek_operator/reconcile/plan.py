"""What to do with the pods of one run now, given its new status. Pure.

The status says whether the run is refused, over, suspended or wanted, and of which size; this says which pods
and which control follow from that, and when to look again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from deepseek_operator.api.meta import PodSetStatus, RunStatus
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.reconcile.control import must_push, wanted_control
from deepseek_operator.reconcile.pod_changes import (
    NO_CHANGES,
    PodChanges,
    is_active,
    keep_running,
    keep_standbys,
    tear_down,
)
from deepseek_operator.resources.run_config import alerts_of, retention_of
from deepseek_operator.status.conditions import RUNNING
from deepseek_operator.status.observed import Observed, PodFacts
from deepseek_operator.status.outcome import Outcome, RunResource, coordinator_of, outcome_of
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_STANDBY, ROLE_WORKER
from deepseek_workloads.contract.messages import Control

# For the last checkpoint of a run that is being suspended or resized: longer than its coordinator gives it
# (15 minutes). Then the pods are deleted, which asks once more.
STOP_PATIENCE: Final = timedelta(seconds=960)


@dataclass(frozen=True)
class Intervals:
    """Seconds between looks at a run when no event comes."""

    progress: float = 2.0  # its coordinator runs
    waiting: float = 10.0  # it waits for something
    resync: float = 30.0  # nothing is expected: Services and policies may have been changed by somebody


@dataclass(frozen=True)
class Plan:
    pods: PodChanges = NO_CHANGES
    objects: bool = False  # what pods need besides themselves should be there
    control: Control | None = None  # to be pushed to the coordinator
    after: float | None = None  # seconds until the next look; None: when something happens


def plan_run(resource: RunResource, status: RunStatus, observed: Observed, *, intervals: Intervals) -> Plan:
    """`status` is the one that this pass computed."""
    outcome = outcome_of(resource, observed)
    if outcome is not None:
        return _finished(resource, status, observed, outcome, intervals)
    if observed.conflict or observed.problems:
        pods = tear_down(observed.pods, now=observed.now, keep_ended_coordinator=False)
        return Plan(pods, after=_sooner(pods.after, intervals.waiting if observed.conflict else None))
    if resource.spec.suspend:
        return _stopped(resource, status, observed, intervals)
    if observed.run is None:
        return Plan(after=intervals.waiting)
    if _has_another_size(observed):
        return _stopped(resource, status, observed, intervals)
    return _running(resource, observed, intervals)


def _finished(
    resource: RunResource, status: RunStatus, observed: Observed, outcome: Outcome, intervals: Intervals
) -> Plan:
    """Nodes are free at once; the ended coordinator stays for its logs until its time is over, and for the
    verdict until a success is recorded."""
    seconds = resource.spec.run_policy.ttl_seconds_after_finished
    ended = status.completion_time or outcome.at or observed.now
    left = None if seconds is None else (ended + timedelta(seconds=seconds) - observed.now).total_seconds()
    unrecorded = bool(observed.revision_refused)
    expired = left is not None and left <= 0 and not unrecorded
    pods = tear_down(observed.pods, now=observed.now, keep_ended_coordinator=not expired)
    remaining = max(0.0, left) if left is not None and not expired and observed.pods else None
    wait = intervals.waiting if unrecorded else remaining
    return Plan(pods, after=_sooner(pods.after, wait))


def _has_another_size(observed: Observed) -> bool:
    """Its pods were made for another number of nodes: they end as in a suspension, others come."""
    coordinator = coordinator_of(observed)
    return coordinator is not None and observed.outdated(coordinator) and not coordinator.deleting


def _stopped(resource: RunResource, status: RunStatus, observed: Observed, intervals: Intervals) -> Plan:
    """A coordinator that works is asked to stop and waited for; any other is deleted, as is one that refuses:
    it writes its checkpoint when it is told to end."""
    coordinator = coordinator_of(observed)
    works = coordinator is not None and is_active(coordinator) and coordinator.ready
    if (
        works
        and not observed.control_refused
        and observed.now - _stopping_since(status, observed.now) < STOP_PATIENCE
    ):
        return Plan(control=_control(resource, observed, stop=True), after=intervals.progress)
    pods = tear_down(observed.pods, now=observed.now, keep_ended_coordinator=False)
    return Plan(pods, after=_sooner(pods.after, intervals.progress if observed.pods else None))


def _running(resource: RunResource, observed: Observed, intervals: Intervals) -> Plan:
    left = tuple(pod for pod in observed.pods if observed.outdated(pod))  # of a run of another size
    changes = keep_running(
        observed.current_pods,
        num_workers=observed.size.nodes if observed.size else resource.spec.workers.num_nodes,
        now=observed.now,
        used=used_incarnations(resource.status.pods, left),
    ) + PodChanges(delete=tuple(pod for pod in left if not pod.deleting))
    if observed.size is not None:
        size = observed.size
        changes += keep_standbys(observed.standbys, first=size.nodes, count=size.standbys, now=observed.now)
    coordinator = coordinator_of(observed)
    runs = coordinator is not None and is_active(coordinator) and coordinator.phase == "Running"
    interval = intervals.progress if runs else intervals.waiting
    control = _control(resource, observed, stop=False)
    return Plan(changes, objects=True, control=control, after=_sooner(changes.after, interval))


def without_creation(plan: Plan) -> Plan:
    """When the cluster refused the new pods, the old ones stay: they carry incarnation and failures."""
    return replace(plan, pods=PodChanges(after=plan.pods.after))


def without_standbys(plan: Plan) -> Plan:
    """When the cluster refused standby pods, those that they would have replaced stay, as above."""
    refused = {pod.index for pod in plan.pods.create if pod.role == ROLE_STANDBY}
    gone = (pod for pod in plan.pods.delete if pod.role != ROLE_STANDBY or pod.index not in refused)
    return replace(plan, pods=replace(plan.pods, delete=tuple(gone)))


def used_incarnations(pods: PodSetStatus | None, left: Iterable[PodFacts] = ()) -> dict[tuple[str, int], int]:
    """The incarnations that the status remembers, and those of pods that are `left` of another size."""
    used: dict[tuple[str, int], int] = {}
    if pods is not None:
        workers = {(ROLE_WORKER, index): number for index, number in enumerate(pods.worker_incarnations)}
        used = {(ROLE_COORDINATOR, 0): pods.coordinator_incarnation, **workers}
    for pod in left:
        place = (pod.role, pod.index)
        used[place] = max(used.get(place, 0), pod.incarnation)
    return used


def _control(resource: RunResource, observed: Observed, *, stop: bool) -> Control | None:
    spec = resource.spec if isinstance(resource, DeepSeekTrainingJob) else None
    control = wanted_control(
        generation=resource.metadata.generation,
        stop=stop,
        alerts=alerts_of(spec) if spec else None,
        retention=retention_of(spec) if spec else None,
    )
    return control if must_push(control, observed.progress) else None


def _stopping_since(status: RunStatus, now: datetime) -> datetime:
    """When the run stopped being one that should run."""
    times = [each.last_transition_time for each in status.conditions if each.type == RUNNING]
    return times[0] if times else now


def _sooner(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
