"""Model checking of the commit log: every interleaving of two writers; lost answers, late writes, crashes.

The real CommitLog runs in one thread for each writer; a scheduler lets exactly one store operation happen at
a time and decides its outcome. All schedules with at most one fault are enumerated, deeper ones are drawn by
hypothesis. What must hold in each of them is in `check`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract import layout
from deepseek_workloads.contract.records import CheckpointRecord, EpochRecord, RetireRecord
from deepseek_workloads.store.interface import (
    AlreadyExists,
    ByteRange,
    NotFound,
    ObjectInfo,
    StoreUnavailable,
)
from deepseek_workloads.store.log import CommitLog, Fenced, live_checkpoints
from deepseek_workloads.store.log import Writer as LogWriter

AFTER_FENCED = 99  # the step that a fenced writer tries to commit


class Crash(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Writer:
    name: str
    steps: tuple[int, ...]  # of the checkpoints that it will commit
    retires: bool = False  # its first one, when all are committed
    retired: list[int] = field(default_factory=list)  # steps, acknowledged
    acknowledged: list[int] = field(default_factory=list)
    seen_at_begin: list[int] = field(default_factory=list)
    end: str = ""
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    at: str = ""  # the operation that waits for the scheduler; "" when the thread has ended

    def run(self, store: "ScheduledStore") -> None:
        try:
            writer = CommitLog(store, clock=lambda: "now", new_writer=lambda: self.name).begin_epoch(
                run_config_digest="sha256:0"
            )
            self.seen_at_begin = [entry.record.step for entry in live_checkpoints(writer.entries)]
            for step in self.steps:
                self._commit(writer, step)
            if self.retires:
                self._retire(writer)
            self.end = "done"
        except Fenced:
            self.end = "fenced"
            self._stay_fenced(writer)
        except StoreUnavailable:
            self.end = "unavailable"
        except Crash:
            self.end = "crashed"

    def _retire(self, writer: LogWriter) -> None:
        first = next(entry for entry in live_checkpoints(writer.entries) if entry.record.writer == self.name)
        for last_try in (False, True):
            try:
                writer.retire([first.index])
            except StoreUnavailable:
                if last_try:
                    raise
                continue
            self.retired.append(first.record.step)
            return

    def _stay_fenced(self, writer: LogWriter) -> None:
        """A caller that goes on although it was told to end."""
        with contextlib.suppress(Fenced, StoreUnavailable, Crash):
            self._commit(writer, AFTER_FENCED)

    def _commit(self, writer: LogWriter, step: int) -> None:
        for last_try in (False, True):
            try:
                writer.commit_checkpoint(
                    step=step, consumed_samples=step, tokens=step, prefix=f"data/{step}/", files=[]
                )
            except StoreUnavailable:
                if last_try:
                    raise
                continue
            self.acknowledged.append(step)
            return


class ScheduledStore:
    """One writer's view of the shared objects: each operation waits its turn and is told its outcome."""

    uri = "model://"

    def __init__(self, world: "World", writer: Writer) -> None:
        self._world, self._writer = world, writer

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._world.turn(self._writer, "list")
        return iter([ObjectInfo(k, len(v), "") for k, v in sorted(self._world.objects.items())])

    def read_ranges(self, ranges: Sequence[ByteRange]) -> Sequence[bytes]:
        return [self._world.objects[asked.key] for asked in ranges]  # records never change

    def read(self, key: str) -> bytes:
        self._world.turn(self._writer, "read")
        if key not in self._world.objects:
            raise NotFound(key)
        return self._world.objects[key]

    def create(self, key: str, content: bytes) -> None:
        outcome = self._world.turn(self._writer, "create")
        if outcome == "late":  # a time-out, while the request is still under way
            self._world.under_way.append((key, content))
            raise StoreUnavailable(key)
        if outcome == "not sent":
            raise StoreUnavailable(key)
        if outcome == "crash before":
            raise Crash
        exists = key in self._world.objects
        self._world.objects.setdefault(key, content)
        if outcome == "crash after":
            raise Crash
        if outcome == "answer lost":
            raise StoreUnavailable(key)
        if outcome == "answer lost, tried again" or exists:
            raise AlreadyExists(key)


FAULTS = ("late", "not sent", "answer lost", "answer lost, tried again", "crash before", "crash after")


class World:
    """Runs the writers under one schedule: `choose(n)` picks one of n possibilities at each point."""

    def __init__(self, writers: Sequence[Writer], choose: Callable[[int], int], max_faults: int) -> None:
        self.objects: dict[str, bytes] = {}
        self.under_way: list[tuple[str, bytes]] = []
        self.faults_left = max_faults
        self._writers, self._choose = writers, choose
        self._outcome = ""
        self._abandoned = False
        self._waiting = threading.Semaphore(0)

    def turn(self, writer: Writer, operation: str) -> str:
        writer.at = operation
        self._waiting.release()
        writer.go.acquire()
        if self._abandoned:
            raise Crash
        return self._outcome

    def run(self) -> None:
        threads = [threading.Thread(target=self._thread, args=(writer,)) for writer in self._writers]
        for thread in threads:
            thread.start()
            self._waiting.acquire()
        try:
            self._schedule()
        finally:  # hypothesis may end an example in the middle
            self._abandoned = True
            for writer in self._writers:
                writer.go.release()
            for thread in threads:
                thread.join()

    def _schedule(self) -> None:
        while moves := self._moves():
            move = moves[self._choose(len(moves))]
            if isinstance(move, int):
                key, content = self.under_way.pop(move)
                self.objects.setdefault(key, content)
                continue
            writer, self._outcome = move
            self.faults_left -= self._outcome != ""
            writer.at = ""
            writer.go.release()
            self._waiting.acquire()

    def _thread(self, writer: Writer) -> None:
        try:
            writer.run(ScheduledStore(self, writer))
        finally:
            writer.at = ""
            self._waiting.release()

    def _moves(self) -> list[int | tuple[Writer, str]]:
        moves: list[int | tuple[Writer, str]] = [(writer, "") for writer in self._writers if writer.at]
        if self.faults_left > 0:
            creating = [writer for writer in self._writers if writer.at == "create"]
            moves += [(writer, fault) for writer in creating for fault in FAULTS]
        if any(writer.at for writer in self._writers):
            moves += range(len(self.under_way))
        return moves


def check(world: World, writers: Sequence[Writer], tmp_path: Path | None = None) -> None:
    keys = sorted(world.objects)
    assert keys == [layout.log_key(index) for index in range(1, len(keys) + 1)], "the log is dense"
    entries = CommitLog(_Plain(world.objects)).records()  # type: ignore[arg-type]
    records = [entry.record for entry in entries]
    begun = [record.epoch for record in records if isinstance(record, EpochRecord)]
    assert begun == sorted(set(begun)), "epochs grow, and none begins twice"
    newest = 0
    committed: list[int] = []
    alive: set[int] = set()
    for record in records:
        if isinstance(record, EpochRecord):
            newest = record.epoch
            writer = next(writer for writer in writers if writer.name == record.writer)
            if writer.end in ("done", "fenced"):
                assert alive == set(writer.seen_at_begin), "an epoch knows every older commit and retirement"
        if isinstance(record, CheckpointRecord):
            assert record.epoch == newest, "no older epoch commits after a newer one began"
            committed.append(record.step)
            alive.add(record.step)
        if isinstance(record, RetireRecord):
            assert record.epoch == newest, "no older epoch retires what a newer one may go on from"
            gone = [entries[index - 1].record for index in record.indices]
            alive -= {each.step for each in gone if isinstance(each, CheckpointRecord)}
    assert AFTER_FENCED not in committed, "who was fenced once stays fenced"
    for writer in writers:
        assert set(writer.acknowledged) <= set(committed), "what was acknowledged is in the log"
        assert not set(writer.retired) & alive, "what was retired stays so"
        if writer.end == "done":
            assert writer.acknowledged == list(writer.steps)
        if writer.end == "fenced":
            own = next(r.epoch for r in records if isinstance(r, EpochRecord) and r.writer == writer.name)
            assert newest > own, "only a newer epoch fences"
    assert all(writer.end for writer in writers)


class _Plain:
    uri = "model://"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([ObjectInfo(key, len(content), "") for key, content in sorted(self._objects.items())])

    def read_ranges(self, ranges: Sequence[ByteRange]) -> Sequence[bytes]:
        return [self._objects[asked.key] for asked in ranges]


class Schedules:
    """Depth-first enumeration: replays a prefix of choices, then takes the first possibility there is."""

    def __init__(self) -> None:
        self._prefix: list[int] = []
        self.finished = False

    def choices(self) -> Callable[[int], int]:
        self._taken: list[int] = []
        self._widths: list[int] = []

        def choose(width: int) -> int:
            position = len(self._taken)
            choice = self._prefix[position] if position < len(self._prefix) else 0
            self._taken.append(choice)
            self._widths.append(width)
            return choice

        return choose

    def advance(self) -> None:
        while self._taken and self._taken[-1] + 1 == self._widths[-1]:
            self._taken.pop()
            self._widths.pop()
        self.finished = not self._taken
        self._prefix = [*self._taken[:-1], self._taken[-1] + 1] if self._taken else []


@pytest.mark.parametrize(
    ("steps_a", "steps_b", "retires", "max_faults"),
    [((1, 2), (3,), False, 0), ((1,), (3,), False, 1), ((1,), (3,), True, 0), ((1,), (), True, 1)],
)
def test_every_schedule_of_two_epochs_keeps_the_promises(steps_a, steps_b, retires, max_faults) -> None:
    schedules = Schedules()
    endings: set[tuple[str, ...]] = set()
    while not schedules.finished:
        writers = [Writer("a", steps_a, retires), Writer("b", steps_b)]
        world = World(writers, schedules.choices(), max_faults)
        world.run()
        check(world, writers)
        endings.add(tuple(writer.end for writer in writers))
        schedules.advance()
    assert {("done", "done"), ("fenced", "done"), *([("done", "fenced")] if steps_b else [])} <= endings
    if max_faults:
        assert {("crashed", "done"), ("done", "crashed")} <= endings


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_drawn_schedules_of_three_epochs_with_many_faults_keep_the_promises(data: st.DataObject) -> None:
    writers = [Writer("a", (1, 2), retires=True), Writer("b", (3, 4), retires=True), Writer("c", (5,))]
    world = World(writers, lambda width: data.draw(st.integers(0, width - 1)), max_faults=5)
    world.run()
    check(world, writers)
