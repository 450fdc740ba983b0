"""Two ranks write checkpoints, as threads over one store: one dies at every point, another epoch takes over
at every point, a file cannot be written. What must hold each time is in `check`.

The writer, the log and the store are the real ones; only the ranks' collectives are of this process.
"""

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deepseek_workloads.contract.retention import Retention
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ObjectStore, StoreError
from deepseek_workloads.store.log import CommitLog, Fenced, Writer, live_checkpoints
from deepseek_workloads.train import checkpoint_files, checkpoint_writer
from deepseek_workloads.train.checkpoint import Identity, Position, load_latest
from deepseek_workloads.train.checkpoint_writer import CheckpointWriter, Place, State, Wanted
from deepseek_workloads.train.group import Group, LocalGroup
from deepseek_workloads.train.replicas.folder import MemoryReplicas, ReplicaFolder
from deepseek_workloads.train.replicas.transfers import Rounds, Transfer
from deepseek_workloads.train.retention import remove_orphans, retire, to_retire
from deepseek_workloads.train.writer_ranks import WriterRanks

RANKS = 2
SECONDS = 120.0  # until a rank that does not come counts as stuck
IDENTITY = Identity("sha256:model", ())


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Meeting:
    """Where the threads of the ranks exchange values; broken when one of them is gone, as a connection is."""

    def __init__(self) -> None:
        self._values: list[Any] = [None] * RANKS
        self._barrier = threading.Barrier(RANKS, timeout=SECONDS)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self._values[rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def leave(self) -> None:
        self._barrier.abort()


@dataclass(frozen=True)
class ThreadRanks(WriterRanks):
    rank: int
    meeting: Meeting

    def any(self, flag: bool) -> bool:
        return any(self.meeting.exchange(self.rank, flag))

    def gather(self, value: Any) -> list[Any]:
        values = self.meeting.exchange(self.rank, value)
        return values if self.rank == 0 else []

    def scatter(self, values: Sequence[Any]) -> Any:
        return self.meeting.exchange(self.rank, values)[0][self.rank]

    def from_rank_zero(self, value: Any) -> Any:
        return self.meeting.exchange(self.rank, value)[0]

    def gather_all(self, value: Any) -> list[Any]:
        return self.meeting.exchange(self.rank, value)

    def move(
        self, rounds: Rounds, read: Callable[[Transfer], bytes]
    ) -> Iterator[tuple[Transfer, memoryview]]:
        for transfers in rounds:
            sent = {transfer: read(transfer) for transfer in transfers if transfer.source == self.rank}
            values = self.meeting.exchange(self.rank, sent)
            for transfer in transfers:
                if transfer.target == self.rank:
                    yield transfer, memoryview(values[transfer.source][transfer])

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class ThreadGroup(LocalGroup):
    meeting: Meeting = field(default_factory=Meeting)
    beside: Meeting = field(default_factory=Meeting)

    def _from_rank_zero(self, value: object) -> object:
        return self.meeting.exchange(self.rank, value)[0]


def ranks_of(group: Group) -> WriterRanks:
    assert isinstance(group, ThreadGroup)
    return ThreadRanks(group.rank, group.beside)


@pytest.fixture(autouse=True)
def ranks_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_writer, "writer_ranks", ranks_of)
    monkeypatch.setattr(checkpoint_files, "_FILE_BYTES", 300)  # several files a rank


class CountedStore:
    """`at` is told the number of each call of one rank, before and after it takes effect."""

    def __init__(self, store: ObjectStore, at: Callable[[int, str], None]) -> None:
        self._store, self._at = store, at
        self._lock, self._calls = threading.Lock(), 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any) -> Any:
            with self._lock:
                number, self._calls = self._calls, self._calls + 1
            self._at(number, "before")
            result = attribute(*arguments)
            self._at(number, "after")
            return result

        return call


def model_at(step: int) -> State:
    """The same on every rank, and another one at each step."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    _move(State(model, optimizer), step)
    return State(model, optimizer)


def _move(state: State, step: int) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(state.model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1)
            parameter.fill_(step + number / 10)
    state.optimizer.step()


@dataclass
class Run:
    """Of one epoch: what its ranks saw."""

    store: FileObjectStore
    steps: tuple[int, ...]
    at: Callable[[int, int, str], None] = lambda _rank, _number, _when: None
    acknowledged: list[int] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Returns when all ranks have ended."""
        log = CommitLog(self.store).begin_epoch(run_config_digest="sha256:run")
        meetings = Meeting(), Meeting()
        threads = [threading.Thread(target=self._rank, args=(rank, log, meetings)) for rank in range(RANKS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def folder(self, rank: int) -> ReplicaFolder:
        """In the memory of the rank's pod."""
        root = Path(self.store.uri.removeprefix("file://"))
        return ReplicaFolder(root.with_name(f"{root.name}-memory-{rank}"))

    def _rank(self, rank: int, log: Writer, meetings: tuple[Meeting, Meeting]) -> None:
        store: Any = CountedStore(self.store, lambda number, when: self._told(rank, number, when, meetings))
        owner = _over(log, store) if rank == 0 else None
        group = ThreadGroup(rank, RANKS, torch.device("cpu"), *meetings)
        state = model_at(0)
        writer = CheckpointWriter(
            Place(store, owner, log.epoch, IDENTITY),
            state,
            group,
            in_background=True,
            after_commit=lambda: _retire(store, owner) or (),
            memory=MemoryReplicas(self.folder(rank), f"worker-{rank}", copies=2),
        )
        try:
            for step in self.steps:
                _move(state, step)
                writer.begin(Wanted(Position(step, step, step), {}, "schedule", lambda: None))
                _move(state, 1000 + step)  # training goes on
                writer.wait()
                if rank == 0:
                    self.acknowledged.append(step)
                    self.warnings += writer.durable.warnings if writer.durable else ()
            self.ends[rank] = "done"
        except Fenced:
            self.ends[rank] = "fenced"
        except Killed:
            self.ends[rank] = "killed"
        except StoreError:
            self.ends[rank] = "refused"
        except threading.BrokenBarrierError:
            self.ends[rank] = "alone"
        finally:
            writer.abandon()
            for meeting in meetings:
                if self.ends.get(rank) in ("killed", "alone"):  # the others end as this one does
                    meeting.leave()

    def _told(self, rank: int, number: int, when: str, meetings: tuple[Meeting, Meeting]) -> None:
        try:
            self.at(rank, number, when)
        except Killed:
            for meeting in meetings:
                meeting.leave()
            raise


def _over(log: Writer, store: ObjectStore) -> Writer:
    """The same writer, whose requests go through `store`."""
    log._appender._store = store
    return log


def _retire(store: ObjectStore, writer: Writer | None) -> None:
    assert writer is not None
    retire(store, writer, to_retire(writer.entries, wanted=Retention(keep_last=2)))


def check(run: Run) -> list[int]:
    """Every live checkpoint is whole and is the state of its step; what was acknowledged is there."""
    entries = CommitLog(run.store).records()
    live = live_checkpoints(entries)
    for entry in live:
        upto = [each for each in entries if each.index <= entry.index]
        state = model_at(0)
        loaded = load_latest(
            run.store,
            LocalGroup(0, 1, torch.device("cpu")),
            entries=upto,
            model=state.model,
            optimizer=state.optimizer,
            identity=IDENTITY,
        )
        assert loaded.damaged == ()
        assert loaded.position.step == entry.record.step
        assert all(found.mean().round() == entry.record.step for found in state.model.parameters())
    steps = [entry.record.step for entry in live]
    assert set(run.acknowledged[-1:]) <= set(steps)  # what is retired was acknowledged before
    return steps


def calls_of(tmp_path: Path) -> list[int]:
    """How many calls each rank makes in an undisturbed run."""
    seen = [0] * RANKS

    def count(rank: int, number: int, _when: str) -> None:
        seen[rank] = max(seen[rank], number + 1)

    run = Run(FileObjectStore(tmp_path / "undisturbed"), (1, 2, 3), count)
    run.start()
    assert check(run) == [2, 3]
    assert run.ends == {0: "done", 1: "done"}
    return seen


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("rank", range(RANKS))
def test_a_rank_that_is_killed_at_any_call_leaves_whole_checkpoints_and_the_next_epoch_goes_on(
    tmp_path: Path, rank: int, when: str
) -> None:
    total = calls_of(tmp_path)[rank]
    assert total >= 2 * 3, "several files of each checkpoint"
    for call in range(total):
        dead: list[int] = []

        def kill(of: int, number: int, at: str, call: int = call, dead: list[int] = dead) -> None:
            if of == rank and (dead or (number, at) == (call, when)):
                dead.append(number)
                raise Killed

        store = FileObjectStore(tmp_path / f"{call}")
        run = Run(store, (1, 2, 3), kill)
        run.start()
        assert run.ends[rank] in ("killed", "done"), call  # done: it was killed after the last word
        before = check(run)
        successor = Run(store, (4,))
        successor.start()
        assert successor.ends == {0: "done", 1: "done"}
        assert check(successor)[-1] == 4
        assert set(before[-1:]) <= set(check(successor))


@pytest.mark.parametrize("rank", range(RANKS))
def test_an_epoch_that_takes_over_at_any_call_fences_the_older_one_and_keeps_its_own_files(
    tmp_path: Path, rank: int
) -> None:
    total = calls_of(tmp_path)[rank]
    for call in range(total):
        store = FileObjectStore(tmp_path / f"{call}")
        newer = Run(store, (3,))  # the same step

        def take_over(of: int, number: int, at: str, call: int = call, newer: Run = newer) -> None:
            if (of, number, at) == (rank, call, "before") and not newer.ends:
                entries = CommitLog(newer.store).records()
                newer.start()
                remove_orphans(newer.store, epoch=2, entries=entries)

        older = Run(store, (1, 2, 3), take_over)
        older.start()
        assert newer.ends == {0: "done", 1: "done"}
        assert check(newer)[-1] == 3
        records = [entry.record for entry in CommitLog(store).records()]
        epochs = [record.epoch for record in records]
        assert epochs == sorted(epochs), "nothing of an older epoch comes after a newer one began"
        assert older.ends in ({0: "fenced", 1: "fenced"}, {0: "done", 1: "done"}), call
        assert older.ends[0] == "fenced" or older.acknowledged == [1, 2, 3]


@pytest.mark.parametrize("rank", range(RANKS))
def test_what_one_rank_cannot_write_is_an_error_on_every_rank_and_publishes_nothing(
    tmp_path: Path, rank: int
) -> None:
    def refuse(of: int, number: int, at: str) -> None:
        if (of, number, at) == (rank, 0, "before"):
            raise StoreError("the disk is full")

    run = Run(FileObjectStore(tmp_path), (1, 2), refuse)
    run.start()
    assert run.ends == {0: "refused", 1: "refused"}
    assert check(run) == []


def test_a_state_is_divided_between_ranks_that_hold_the_same(tmp_path: Path) -> None:
    run = Run(FileObjectStore(tmp_path), (1,))
    run.start()
    (entry,) = live_checkpoints(CommitLog(run.store).records())
    sizes = [
        sum(file.size for file in entry.record.files if f"/rank{rank:05d}-" in file.key)
        for rank in range(RANKS)
    ]
    assert min(sizes) > 0.3 * max(sizes)


def test_the_memory_of_both_pods_holds_the_newest_durable_checkpoint_alone(tmp_path: Path) -> None:
    run = Run(FileObjectStore(tmp_path / "store"), (1, 2))
    run.start()
    first, last = live_checkpoints(CommitLog(run.store).records())
    for rank in range(RANKS):
        folder = run.folder(rank)
        assert folder.keys(first.record.prefix) == frozenset()
        assert folder.keys(last.record.prefix) == {file.key for file in last.record.files}
        assert all(folder.read(file.key) == run.store.read(file.key) for file in last.record.files)


def test_a_memory_without_room_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: ReplicaFolder, key: str, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ReplicaFolder, "begin", full)
    run = Run(FileObjectStore(tmp_path / "store"), (1, 2))
    run.start()
    assert run.ends == {0: "done", 1: "done"}
    assert check(run) == [1, 2]
    (warning,) = set(run.warnings)
    assert "checkpoint.memoryReplicas" in warning
