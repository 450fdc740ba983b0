"""Whether a run took the samples that its order names: its log and its checkpoints, held against the order.

What is not shown is not taken for granted: a step that no line tells of deviates, as does a log without a
step. It only reads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from deepseek_workloads.contract.records import CheckpointRecord
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.sample_log import LoggedStep, logged_samples
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, LogEntry, live_checkpoints


@dataclass(frozen=True)
class RunAudit:
    """Of the steps that the run has logged."""

    steps: int
    repeated_steps: int  # trained again after a failure or a rollback
    deviating: tuple[str, ...]  # what is not as the order says, or is not shown

    @property
    def in_order(self) -> bool:
        return not self.deviating


def audit_run(plan: SamplePlan, store: ObjectStore, *, global_batch_size: int) -> RunAudit:
    """Raises the StoreErrors of reading, and CorruptLog."""
    steps, repeated = logged_samples(store)
    entries = CommitLog(store).records()
    live = live_checkpoints(entries)
    deviating = [
        *_deviations(plan, steps, rollbacks=_rollbacks(entries), batch=global_batch_size),
        *_unlogged_end(steps, newest_checkpoint=live[-1].record.step if live else 0),
    ]
    return RunAudit(len(steps), repeated, tuple(deviating))


def _rollbacks(entries: list[LogEntry]) -> set[tuple[int, int]]:
    """After which step the run went on at which sample, with earlier weights."""
    records = [entry.record for entry in entries if isinstance(entry.record, CheckpointRecord)]
    return {(record.step, record.consumed_samples) for record in records if record.reason == "rollback"}


def _deviations(
    plan: SamplePlan, steps: Mapping[int, LoggedStep], *, rollbacks: set[tuple[int, int]], batch: int
) -> Iterator[str]:
    before = expected = 0  # the step before, and where the next one begins
    for step, logged in sorted(steps.items()):
        if step > before + 1:
            yield _missing(before + 1, step - 1)
            expected += (step - before - 1) * batch
        first = logged.consumed_samples - batch
        if first < expected:
            yield f"step {step}: begins at sample {first}, which step {step - 1} had taken"
        elif first > expected and (step - 1, first) not in rollbacks:
            yield (
                f"step {step}: begins at sample {first}: samples {expected} to {first} were left out, "
                "and no rollback says so"
            )
        ids = plan.locate_many(np.arange(max(0, first), logged.consumed_samples)).sample_id.tolist()
        if not logged.are(ids):
            yield f"step {step}: samples {first} to {logged.consumed_samples} are not the order's"
        before, expected = step, logged.consumed_samples


def _unlogged_end(steps: Mapping[int, LoggedStep], *, newest_checkpoint: int) -> Iterator[str]:
    last = max(steps, default=0)
    if newest_checkpoint > last:
        missing = _missing(last + 1, newest_checkpoint)
        yield f"{missing}, though a checkpoint of step {newest_checkpoint} is live"
    elif not steps:
        yield "no step is logged: that the run took the order's samples is not shown"


def _missing(first: int, last: int) -> str:
    return f"step {first}: not in the log" if first == last else f"steps {first} to {last}: not in the log"
