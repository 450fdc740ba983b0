"""The checkpoints of one epoch of a run: the one to begin from, those that are written, those that go.

It does not know what a step is, nor when a checkpoint is due.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn
from torch.optim import Optimizer

from deepseek_workloads.contract.retention import Retention
from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.log import CheckpointEntry, LogEntry, live_checkpoints
from deepseek_workloads.train import checkpoint, retention
from deepseek_workloads.train.checkpoint import Loaded, Position, StatePart
from deepseek_workloads.train.checkpoint_writer import CheckpointWriter, Durable, Place, State, Wanted
from deepseek_workloads.train.decisions import CheckpointReason
from deepseek_workloads.train.opened import Opened
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.stopwatch import Stopwatch

MOST_FAILURES = 2  # of checkpoints in a row that a run goes on after


@dataclass(frozen=True)
class Earlier:
    loaded: Loaded
    checkpoints: int  # that it went back, 1 is the newest; a damaged one may have led further

    def short_of(self, wanted: int) -> str:
        """Words to be said where fewer were there than a rollback was to go back."""
        if self.checkpoints >= wanted:
            return ""
        return (
            f", the oldest of {self.checkpoints} that there are: spec.alerts.rollbackCheckpoints asks for "
            f"{wanted}, and spec.checkpoint.keepLast says how many are kept"
        )


@dataclass
class CheckpointKeeper:
    """Of one rank. `reporter` is rank 0's; what writes is a collective."""

    opened: Opened
    model: nn.Module
    optimizer: Optimizer
    reporter: Reporter | None
    watch: Stopwatch
    retention: Callable[[], Retention | None]  # newer than the run config's
    parts: Sequence[StatePart] = ()
    entry: CheckpointEntry | None = None  # the newest
    _damaged: set[int] = field(default_factory=set)
    _writer: CheckpointWriter | None = None  # of the steps that are being taken
    _pending: bool = False  # something was saved that not every rank knows to be durable
    _told: Durable | None = None
    _failures: int = 0  # in a row

    def load(self) -> Loaded:
        """The newest intact one. A collective; raises what `checkpoint.load_latest` raises."""
        loaded = self._load(self.opened.epoch.entries)
        self.entry, self._damaged = loaded.entry, set(loaded.damaged)
        return loaded

    @contextmanager
    def begun(self, loaded: Loaded) -> Iterator[None]:
        """A collective around the steps of the epoch. Shows where it begins, and finishes what one before it
        was about to do. A thread deletes what interrupted checkpoints have left: a listing of the store must
        not delay the first step. At the end all that was saved is durable."""
        self.entry, self._damaged = loaded.entry, set(loaded.damaged)
        if self.reporter is not None:
            live = live_checkpoints(self.opened.epoch.entries)
            self._warn_of(loaded)
            intact = [entry for entry in live if entry.index not in self._damaged]
            self.reporter.resumed(loaded.position, intact, from_memory=loaded.from_memory)
            for warning in self._retire(damaged_too=False):
                self.reporter.warn(warning)
        opened = self.opened
        self._writer = CheckpointWriter(
            Place(opened.store, opened.writer, opened.epoch.number, opened.identity),
            State(self.model, self.optimizer, self.parts),
            opened.group,
            in_background=opened.run.checkpoint.mode == "async",
            after_commit=lambda: self._retire(damaged_too=True),
            memory=opened.memory,
        )
        cleaner = threading.Thread(target=self._remove_orphans, name="orphans", daemon=True)
        cleaner.start()
        try:
            yield
            self.wait()
        except BaseException:
            self._writer.abandon()
            raise
        self._writer.close()
        cleaner.join()

    @property
    def failed(self) -> bool:
        """Whether this rank knows of a checkpoint that cannot be published: then all ranks are to call
        `settle`."""
        return self._writer is not None and self._writer.failed

    def save(
        self, position: Position, metrics: dict[str, float], reason: CheckpointReason, *, durable: bool
    ) -> None:
        """A collective. Training may go on when it returns, and with `durable` the checkpoint is published.
        The one before is waited for. Raises what `settle` raises, with `durable` what `wait` does."""
        assert self._writer is not None
        self.settle()
        flushed = self.reporter.begin_flush() if self.reporter is not None else _nothing
        # What a later epoch takes for done can be looked up.
        wanted = Wanted(position, metrics, reason, before_commit=flushed)
        with self.watch.part("checkpoint"):
            self._pending = True
            self._writer.begin(wanted)
        if durable:
            self.wait()

    def wait(self) -> None:
        """A collective: until what was saved last is durable. Raises Fenced and StoreErrors on every rank;
        then the checkpoints before are untouched."""
        if not self._pending:
            return
        assert self._writer is not None
        self._pending = False
        with self.watch.part("checkpoint"):
            self.entry = self._writer.wait()
        self._failures = 0
        self.tell()

    def settle(self) -> None:
        """As `wait`, but for a store that was away: a warning, and training goes on to the next checkpoint,
        which a restart would need the store for anyway. After MOST_FAILURES in a row the error is raised."""
        try:
            self.wait()
        except StoreError as error:  # the same on every rank
            self._failures += 1
            if not error.transient or self._failures > MOST_FAILURES:
                raise
            if self.reporter is not None:
                self.reporter.warn(f"a checkpoint was not written, training goes on to the next one: {error}")

    def tell(self) -> None:
        """Shows what has become durable, on the rank that knows."""
        durable = self._writer.durable if self._writer is not None else None
        if durable is None or durable is self._told or self.reporter is None:
            return
        self._told, self.entry = durable, durable.entry
        for warning in durable.warnings:
            self.reporter.warn(warning)
        self.reporter.checkpoint(durable.entry, durable.live, seconds=durable.seconds)

    def go_back(self, checkpoints: int) -> Earlier | None:
        """The state of so many checkpoints ago, 1 is the newest, or of the oldest. None: there is none. A
        collective."""
        self.settle()
        writer = self.opened.writer
        live = self.opened.group.on_rank_zero(lambda: live_checkpoints(writer.entries if writer else ()))
        if not live:
            return None
        count = min(checkpoints, len(live))
        back = live[-count]
        loaded = self._load(
            [LogEntry(entry.index, entry.record) for entry in live if entry.index <= back.index]
        )
        self._damaged |= set(loaded.damaged)
        self._warn_of(loaded)
        return Earlier(loaded, checkpoints=count)

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
            memory=self.opened.memory,
        )

    def _retire(self, *, damaged_too: bool) -> list[str]:
        """Damaged ones stay until there is a newer one: someone may want to repair them. Returns warnings."""
        opened = self.opened
        if opened.writer is None:
            return []
        surplus = retention.to_retire(
            opened.writer.entries,
            wanted=self.retention() or opened.run.checkpoint.retention,
            damaged=self._damaged,
        )
        if not damaged_too:
            surplus = [entry for entry in surplus if entry.index not in self._damaged]
        try:
            retention.retire(opened.store, opened.writer, surplus)
        except StoreError as error:  # its files are removed by the next epoch
            return [f"old checkpoints were not deleted: {error}"]
        return []

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
