"""The checkpoints of one epoch of a run: the one to begin from, those that are written, those that go.

It does not know what a step is, nor when a checkpoint is due.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.optim import Optimizer

from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.log import CheckpointEntry, LogEntry, live_checkpoints
from deepseek_workloads.train import checkpoint, retention
from deepseek_workloads.train.checkpoint import Loaded, Position, StatePart
from deepseek_workloads.train.decisions import CheckpointReason
from deepseek_workloads.train.opened import Opened
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.stopwatch import Stopwatch


@dataclass
class CheckpointKeeper:
    """Of one rank. `reporter` is rank 0's; what writes is a collective."""

    opened: Opened
    model: nn.Module
    optimizer: Optimizer
    reporter: Reporter | None
    watch: Stopwatch
    parts: Sequence[StatePart] = ()
    entry: CheckpointEntry | None = None  # the newest
    _damaged: set[int] = field(default_factory=set)

    def load(self) -> Loaded:
        """The newest intact one. A collective; raises what `checkpoint.load_latest` raises."""
        loaded = self._load(self.opened.epoch.entries)
        self.entry, self._damaged = loaded.entry, set(loaded.damaged)
        return loaded

    def begin(self, loaded: Loaded) -> threading.Thread:
        """Shows where the epoch begins, and finishes what an epoch before was about to do. The thread deletes
        what interrupted checkpoints have left: a listing of the store must not delay the first step."""
        self.entry, self._damaged = loaded.entry, set(loaded.damaged)
        if self.reporter is not None:
            live = live_checkpoints(self.opened.epoch.entries)
            self._warn_of(loaded)
            intact = [entry for entry in live if entry.index not in self._damaged]
            self.reporter.resumed(loaded.position, intact)
        self._retire(damaged_too=False)
        thread = threading.Thread(target=self._remove_orphans, name="orphans", daemon=True)
        thread.start()
        return thread

    def save(self, position: Position, metrics: dict[str, float], reason: CheckpointReason) -> None:
        """A collective."""
        opened, begun = self.opened, time.monotonic()
        flushed = self.reporter.begin_flush() if self.reporter is not None else _nothing
        with self.watch.part("checkpoint"):
            self.entry = checkpoint.save(
                opened.store,
                opened.group,
                writer=opened.writer,
                epoch=opened.epoch.number,
                model=self.model,
                optimizer=self.optimizer,
                position=position,
                identity=opened.identity,
                metrics=metrics,
                reason=reason,
                parts=self.parts,
                before_commit=flushed,  # what a later epoch takes for done can be looked up
            )
        if opened.writer is not None and self.reporter is not None:
            self._retire(damaged_too=True)
            live = live_checkpoints(opened.writer.entries)
            self.reporter.checkpoint(self.entry, live, seconds=time.monotonic() - begun)

    def go_back(self, checkpoints: int) -> Loaded | None:
        """The state of so many checkpoints ago, 1 is the newest, or of the oldest. None: there is none. A
        collective."""
        writer = self.opened.writer
        live = self.opened.group.on_rank_zero(lambda: live_checkpoints(writer.entries if writer else ()))
        if not live:
            return None
        back = live[-min(checkpoints, len(live))]
        loaded = self._load(
            [LogEntry(entry.index, entry.record) for entry in live if entry.index <= back.index]
        )
        self._damaged |= set(loaded.damaged)
        self._warn_of(loaded)
        return loaded

    def _warn_of(self, loaded: Loaded) -> None:
        if self.reporter is not None:
            for warning in loaded.warnings:
                self.reporter.warn(warning)

    def _load(self, entries: Sequence[LogEntry]) -> Loaded:
        return checkpoint.load_latest(
            self.opened.store,
            self.opened.group,
            entries=entries,
            model=self.model,
            optimizer=self.optimizer,
            identity=self.opened.identity,
            parts=self.parts,
        )

    def _retire(self, *, damaged_too: bool) -> None:
        """Damaged ones stay until there is a newer one: someone may want to repair them."""
        opened = self.opened
        if opened.writer is None or self.reporter is None:
            return
        surplus = retention.to_retire(
            opened.writer.entries,
            keep_last=opened.run.checkpoint.keep_last,
            damaged=self._damaged,
        )
        if not damaged_too:
            surplus = [entry for entry in surplus if entry.index not in self._damaged]
        try:
            retention.retire(opened.store, opened.writer, surplus)
        except StoreError as error:  # its files are removed by the next epoch
            self.reporter.warn(f"old checkpoints were not deleted: {error}")

    def _remove_orphans(self) -> None:
        opened = self.opened
        if opened.writer is None or self.reporter is None:
            return
        try:
            retention.remove_orphans(opened.store, epoch=opened.epoch.number, entries=opened.epoch.entries)
        except StoreError as error:
            self.reporter.warn(f"files of interrupted checkpoints were not deleted: {error}")


def _nothing() -> None:
    pass
