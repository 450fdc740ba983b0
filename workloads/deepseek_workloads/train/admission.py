"""Whether a run may start, or go on: asked by every rank before it joins its group.

A pod that is replaced may have a newer image than the one that the run began with, and the run's config stays
as it was. So rules that have become stricter since do not end a run that has begun.
"""

from collections.abc import Callable
from contextlib import closing

from deepseek_workloads.contract.records import EpochRecord
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog


def problems_of(run: TrainingRun, open_store: Callable[[Storage], ObjectStore]) -> list[Problem]:
    """Empty: the run may start. The log is read only where a new run would be refused. Raises StoreErrors."""
    problems = check_training(run)
    if not problems:
        return []
    with closing(open_store(run.storage)) as store:
        return check_training(run, begun=_has_begun(run, store))


def _has_begun(run: TrainingRun, store: ObjectStore) -> bool:
    """Whether a group of this resource was admitted before, be it without a checkpoint yet. All ranks see the
    same: where there was none, rank 0 is refused too, and begins no epoch."""
    epochs = (entry.record for entry in CommitLog(store).records() if isinstance(entry.record, EpochRecord))
    return any(epoch.owner_uid == run.owner.uid for epoch in epochs)
