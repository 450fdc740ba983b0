"""Whether a drift check is to begin now. Pure.

Of the times that passed since the last check only the newest is made up for; while a check runs none begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.resources.schedule import last_time, next_time
from deepseek_operator.status.observed import PodFacts
from deepseek_operator.status.outcome import SUCCEEDED


@dataclass(frozen=True)
class DriftPlan:
    begin: datetime | None = None  # the time of the schedule to check for
    delete: tuple[PodFacts, ...] = ()
    ended: PodFacts | None = None  # whose verdict is to be told first
    next: datetime | None = None


def plan_drift_check(dataset: DeepSeekDataset, pods: Sequence[PodFacts], *, now: datetime) -> DriftPlan:
    """`pods`: of drift checks, of this dataset. Raises InvalidSchedule."""
    check = dataset.spec.drift_check
    if check is None or not is_prepared(dataset):
        return DriftPlan(delete=tuple(pod for pod in pods if not pod.deleting))
    ended = tuple(pod for pod in pods if pod.ended and not pod.deleting)
    if ended:
        return DriftPlan(ended=max(ended, key=lambda pod: pod.incarnation), delete=ended)
    if check.suspend:
        return DriftPlan()
    due, following = last_time(check.schedule, until=now), next_time(check.schedule, after=now)
    if due <= _since(dataset, now):
        return DriftPlan(next=following)
    if pods:  # one that found no node until the next time makes room for it
        return DriftPlan(
            delete=tuple(pod for pod in pods if not pod.node and not pod.deleting), next=following
        )
    return DriftPlan(begin=due, next=following)


def is_prepared(dataset: DeepSeekDataset) -> bool:
    return bool(dataset.status.digest) and any(
        each.type == SUCCEEDED and each.status == "True" for each in dataset.status.conditions
    )


def _since(dataset: DeepSeekDataset, now: datetime) -> datetime:
    """The last time of the schedule that was served; before any, when the dataset was ready."""
    told = dataset.status.drift_check
    served = told.last_schedule_time if told is not None else None
    return served or dataset.status.completion_time or now
