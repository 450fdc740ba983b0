"""Which checkpoints and files are kept. Pure decisions first, then the deletions that they allow.

A checkpoint is retired in the log before its files go: whoever reads the log never finds a half one. Files
that no record names are garbage when their epoch has ended: an older epoch can commit nothing any more.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from deepseek_workloads.contract import layout
from deepseek_workloads.contract.retention import KeepBest, Retention
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import (
    CheckpointEntry,
    LogEntry,
    Writer,
    live_checkpoints,
    unretired_checkpoints,
)

_ATTEMPT = re.compile(r"^data/(?P<epoch>\d{8})-[0-9a-f-]{36}/")


def attempt_name(epoch: int, unique: str) -> str:
    """Names its epoch, so that a later one can tell what was left behind from what is being written."""
    return f"{epoch:08d}-{unique}"


def to_retire(
    entries: Sequence[LogEntry], *, wanted: Retention, damaged: Iterable[int] = ()
) -> list[CheckpointEntry]:
    """What nothing `wanted` keeps. Damaged ones (by log index), and what a rollback has given up, neither
    count nor stay."""
    broken = set(damaged)
    intact = [entry for entry in live_checkpoints(entries) if entry.index not in broken]
    kept = {entry.index for entry in _kept(intact, wanted)}
    return [entry for entry in unretired_checkpoints(entries) if entry.index not in kept]


def _kept(intact: Sequence[CheckpointEntry], wanted: Retention) -> Iterator[CheckpointEntry]:
    yield from intact[-wanted.keep_last :]
    if wanted.keep_every is not None:
        yield from (entry for entry in intact if entry.record.step % wanted.keep_every == 0)
    if wanted.keep_best is not None:
        yield from _best(intact, wanted.keep_best)


def _best(intact: Sequence[CheckpointEntry], wanted: KeepBest) -> list[CheckpointEntry]:
    """Of equals the newer ones."""
    sign = 1 if wanted.mode == "min" else -1

    def figure(entry: CheckpointEntry) -> float | None:
        """Of an entrypoint by the very name that it reports."""
        metrics = entry.record.metrics
        return metrics.get(wanted.metric, metrics.get(wanted.recorded_metric))

    measured = [(entry, value) for entry in intact if (value := figure(entry)) is not None]
    ranked = [entry for entry, _ in sorted(measured, key=lambda each: (sign * each[1], -each[0].index))]
    return ranked[: wanted.count]


def retire(store: ObjectStore, writer: Writer, entries: Sequence[CheckpointEntry]) -> None:
    """Raises Fenced, then nothing was deleted."""
    if not entries:
        return
    writer.retire([entry.index for entry in entries])
    for entry in entries:
        store.delete([file.key for file in entry.record.files])


def remove_orphans(store: ObjectStore, *, epoch: int, entries: Sequence[LogEntry]) -> int:
    """Deletes files of checkpoints of epochs before `epoch` that are not live. Returns how many objects.

    `entries`: the log up to the record of `epoch`, after which no older epoch can commit.
    """
    live = {entry.record.prefix for entry in live_checkpoints(entries)}
    orphans = [
        info.key
        for info in store.list(layout.DATA_PREFIX)
        if (match := _ATTEMPT.match(info.key)) and int(match["epoch"]) < epoch and match[0] not in live
    ]
    store.delete(orphans)
    return len(orphans)
