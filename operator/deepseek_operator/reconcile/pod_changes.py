"""Which pods to create and which to delete, given those that are there. Pure.

A pod is never changed: it is replaced by one of the next incarnation, whose name is another, so that a pod
that hangs on a lost node blocks nothing. A bad pod stays until its replacement exists: it is what the
replacement learns its incarnation and its failures from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from deepseek_operator.status.observed import PodFacts
from deepseek_operator.status.pod_state import Trouble, classify, failures_of
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_STANDBY, ROLE_WORKER

_MAX_DELAY: Final = 60.0  # seconds between a failure and the replacement
# A pod that lived shorter than this would come and go in a loop, for instance on a node under pressure.
_SHORT_LIFE: Final = timedelta(seconds=30)
_SHORT_LIFE_DELAY: Final = 5.0
_RETRY: Final = 2.0
# A worker ends with 0 only when the coordinator, which is about to end too, sent it home.
_DISMISSED_DELAY: Final = 10.0


@dataclass(frozen=True)
class NewPod:
    role: str
    index: int
    incarnation: int
    failures: int  # of earlier pods of this role and index


@dataclass(frozen=True)
class PodChanges:
    create: tuple[NewPod, ...] = ()
    delete: tuple[PodFacts, ...] = ()  # in this order, after the status was written
    after: float | None = None  # seconds until a replacement is due

    def __add__(self, other: "PodChanges") -> "PodChanges":
        waits = [wait for wait in (self.after, other.after) if wait is not None]
        return PodChanges(
            self.create + other.create, self.delete + other.delete, min(waits) if waits else None
        )


NO_CHANGES: Final = PodChanges()
NOTHING_USED: Final[Mapping[tuple[str, int], int]] = MappingProxyType({})


def is_active(pod: PodFacts) -> bool:
    """It runs, or may come to run."""
    return not classify(pod).over


def coordinator_of(pods: Iterable[PodFacts]) -> PodFacts | None:
    """The coordinator pod of the highest incarnation, whatever became of it."""
    found = [pod for pod in pods if pod.role == ROLE_COORDINATOR]
    return max(found, key=lambda pod: pod.incarnation, default=None)


def coordinator_incarnation(pods: Iterable[PodFacts], new: Iterable[NewPod]) -> int:
    """Of the coordinator that workers are to find, once the new pods exist."""
    created = [pod.incarnation for pod in new if pod.role == ROLE_COORDINATOR]
    current = coordinator_of(pods)
    return created[0] if created else current.incarnation if current is not None else 1


Used = Mapping[tuple[str, int], int]
"""The highest incarnation that was ever used in a place, by (role, index), where any was."""


def keep_running(
    pods: tuple[PodFacts, ...],
    *,
    num_workers: int,
    now: datetime,
    used: Used = NOTHING_USED,
    forgive_after: timedelta | None = None,
) -> PodChanges:
    """One active pod in each place. Workers are created once the coordinator's preflight has passed.

    `used` matters for a pod that vanished without a trace, for instance with the object of its node.
    `forgive_after`: earlier failures of a place do not count against a pod that lived so long.
    """
    place = _Place(now=now, used=used, forgive_after=forgive_after)
    changes = _fill(pods, place, role=ROLE_COORDINATOR, index=0, create=True)
    coordinator = coordinator_of(pods)
    wanted = coordinator is not None and coordinator.ready and is_active(coordinator)
    for index in range(num_workers):
        changes += _fill(pods, place, role=ROLE_WORKER, index=index, create=wanted)
    return changes


def keep_standbys(pods: tuple[PodFacts, ...], *, first: int, count: int, now: datetime) -> PodChanges:
    """One active standby pod for each of so many places from `first` on, and no others."""
    place, wanted = _Place(now=now, used=NOTHING_USED, forgive_after=None), range(first, first + count)
    changes = PodChanges(delete=tuple(pod for pod in pods if pod.index not in wanted and not pod.deleting))
    for index in wanted:
        changes += _fill(pods, place, role=ROLE_STANDBY, index=index, create=True)
    return changes


def remove_surplus(pods: tuple[PodFacts, ...], *, num_workers: int) -> PodChanges:
    """Workers beyond the number that is wanted."""
    surplus = (pod for pod in pods if pod.role == ROLE_WORKER and pod.index >= num_workers)
    return PodChanges(delete=tuple(pod for pod in surplus if not pod.deleting))


def tear_down(pods: tuple[PodFacts, ...], *, now: datetime, keep_ended_coordinator: bool) -> PodChanges:
    """No active pod is left. The coordinator goes last: workers write their last checkpoint through it.

    A worker that hangs on a lost node is waited for until its grace period is over.
    """
    others = [pod for pod in pods if pod.role != ROLE_COORDINATOR]
    delete = [pod for pod in others if not pod.deleting]
    leaving = [_remaining(pod, now=now) for pod in others if not pod.ended]
    wait = max(leaving, default=0.0)
    if wait > 0:
        return PodChanges(delete=tuple(delete), after=wait)
    kept = coordinator_of(pods) if keep_ended_coordinator else None
    for pod in pods:
        if pod.role == ROLE_COORDINATOR and not pod.deleting and not (pod == kept and pod.ended):
            delete.append(pod)
    return PodChanges(delete=tuple(delete))


def _remaining(pod: PodFacts, *, now: datetime) -> float:
    """Seconds until it is killed; one that has never been placed on a node has nothing to end."""
    if not pod.node:
        return 0.0
    return _RETRY if pod.grace_ends_at is None else (pod.grace_ends_at - now).total_seconds()


@dataclass(frozen=True)
class _Place:
    """What `_fill` needs for every place alike."""

    now: datetime
    used: Used
    forgive_after: timedelta | None


def _fill(pods: tuple[PodFacts, ...], place: _Place, *, role: str, index: int, create: bool) -> PodChanges:
    """Of one place: at most one active pod is kept, and exactly one if `create`."""
    here = sorted(
        (pod for pod in pods if (pod.role, pod.index) == (role, index)), key=lambda pod: pod.incarnation
    )
    active = [pod for pod in here if is_active(pod)]
    if active:
        return PodChanges(delete=tuple(pod for pod in here if pod is not active[-1] and not pod.deleting))
    if not create:
        return PodChanges()
    highest = max(place.used.get((role, index), 0), here[-1].incarnation if here else 0)
    if not here:
        return PodChanges(create=(NewPod(role, index, incarnation=highest + 1, failures=0),))
    last = here[-1]
    forgiven = place.forgive_after is not None and _ended_at(last) - last.created_at >= place.forgive_after
    failures = int(classify(last).counts) if forgiven else failures_of(last)
    wait = (_ended_at(last) + timedelta(seconds=_delay(last, failures)) - place.now).total_seconds()
    if wait > 0:
        return PodChanges(after=wait)
    replacement = NewPod(role, index, incarnation=highest + 1, failures=failures)
    return PodChanges(create=(replacement,), delete=tuple(pod for pod in here if not pod.deleting))


def _delay(pod: PodFacts, failures: int) -> float:
    """The first replacement comes at once, then they come ever slower: 0, 2, 4, 8 ... seconds."""
    if classify(pod).counts:
        return 0.0 if failures <= 1 else min(_MAX_DELAY, float(2 ** (failures - 1)))
    if pod.role == ROLE_WORKER and classify(pod).trouble is Trouble.ENDED:
        return _DISMISSED_DELAY
    exit_time = pod.exit.finished_at if pod.exit is not None else None
    if exit_time is not None and pod.incarnation > 1 and exit_time - pod.created_at < _SHORT_LIFE:
        return _SHORT_LIFE_DELAY
    return 0.0


def _ended_at(pod: PodFacts) -> datetime:
    """When it ended, as far as the kubelet has said."""
    return (
        pod.exit.finished_at if pod.exit is not None and pod.exit.finished_at is not None else pod.created_at
    )
