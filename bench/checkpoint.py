"""`make bench-checkpoint`: what a checkpoint of 1 GB costs a training loop, against DCP to the same store.

Ours in the background, torch.distributed.checkpoint (DCP) by `save` and by `async_save`, both with its fsspec
writer in 4 threads, in turns, to one versitygw behind a proxy that adds 0, 20 and 200 ms to each request. A
stall is how long the loop stands still for one checkpoint, gathering the state included. Until it is durable
the loop takes steps; what these are slower than steps alone counts as lost, too. Then loads of the same
state, the same from the pods' memory (`checkpoint_memory`), and how long a killed process takes to its next
step (`checkpoint_recovery`).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import s3fs
import torch
import torch.distributed as dist
from checkpoint_memory import measure_memory
from checkpoint_recovery import measure_recovery
from report import Point, emit, say
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader, FsspecWriter
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, Writer, live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.checkpoint import Identity, Position, load_latest
from deepseek_workloads.train.checkpoint_writer import CheckpointWriter, Place, State, Wanted
from deepseek_workloads.train.group import LocalGroup
from local_object_store import Server, proxy_process, running_server

BUCKET: Final = "bench"
LATENCIES_MS: Final = (0, 20, 200)
THREADS: Final = 4  # of the peer's writer; ours has as many
STALL_GOAL: Final = 20.0  # times less: 5 %
IDENTITY: Final = Identity("sha256:bench", ())
WIDTH: Final = 1024
STEP_SIZE: Final = 256  # of the matrices of a made-up step: tens of milliseconds


class Training:
    """A state of a size, as AdamW has it, and steps that only take time."""

    def __init__(self, megabytes: int) -> None:
        matrices = max(1, round(megabytes * 1e6 / (12 * WIDTH * WIDTH)))
        self.model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(matrices)))
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._work = torch.randn(STEP_SIZE, STEP_SIZE)

    @property
    def gigabytes(self) -> float:
        return 12e-9 * sum(parameter.numel() for parameter in self.model.parameters())

    def step(self) -> float:
        """Seconds."""
        begun = time.perf_counter()
        for _ in range(20):
            self._work = torch.tanh(self._work @ self._work)
        return time.perf_counter() - begun

    def steps_until(self, done: Callable[[], bool]) -> list[float]:
        """Seconds of each step."""
        taken = [self.step()]
        while not done():
            taken.append(self.step())
        return taken

    def step_alone(self) -> float:
        """Seconds of the median step, when nothing else goes on."""
        return statistics.median(self.steps_until(_after(0.5)))


@dataclass
class Figures:
    """Of one way to write, a value a round."""

    stalls: list[float] = field(default_factory=list)
    durable: list[float] = field(default_factory=list)  # seconds from the call
    lost: list[float] = field(default_factory=list)  # seconds of training: the stall, and slower steps


class Ours:
    def __init__(self, training: Training, store: ObjectStore) -> None:
        self._training, self._store, self._group = training, store, LocalGroup(0, 1, torch.device("cpu"))
        self._log: Writer = CommitLog(store).begin_epoch(run_config_digest="sha256:bench")
        self._writer = CheckpointWriter(
            Place(store, self._log, self._log.epoch, IDENTITY),
            State(training.model, training.optimizer),
            self._group,
            in_background=True,
        )
        self._step = 0

    def save(self, figures: Figures) -> None:
        for before in live_checkpoints(self._log.entries):  # the disk need not hold all
            self._store.delete([file.key for file in before.record.files])
        alone = self._training.step_alone()
        begun = time.perf_counter()
        self._step += 1
        self._writer.begin(Wanted(Position(self._step), {}, "schedule", before_commit=lambda: None))
        figures.stalls.append(time.perf_counter() - begun)
        slow = self._training.steps_until(lambda: self._writer.durable is not None or self._writer.failed)
        figures.durable.append(time.perf_counter() - begun)
        figures.lost.append(figures.stalls[-1] + sum(slow) - alone * len(slow))
        self._writer.wait()

    def load(self) -> float:
        """Seconds."""
        begun = time.perf_counter()
        loaded = load_latest(
            self._store,
            self._group,
            entries=self._log.entries,
            model=self._training.model,
            optimizer=self._training.optimizer,
            identity=IDENTITY,
        )
        assert loaded.position.step == self._step
        return time.perf_counter() - begun


class Peer:
    """DCP through fsspec. A fresh prefix for each checkpoint, as it wants it."""

    def __init__(self, training: Training, server: Server, endpoint_url: str, prefix: str) -> None:
        self._training, self._prefix, self._number = training, prefix, 0
        self._files = _files(server, endpoint_url)
        self._options: dict[str, Any] = {
            "key": server.access_key,
            "secret": server.secret_key,
            "endpoint_url": endpoint_url,
        }

    def save(self, figures: Figures) -> None:
        self._drop()
        begun = time.perf_counter()
        state_dict_saver.save(self._state(), storage_writer=self._writer())
        figures.stalls.append(time.perf_counter() - begun)
        figures.durable.append(figures.stalls[-1])
        figures.lost.append(figures.stalls[-1])

    def save_async(self, figures: Figures) -> None:
        self._drop()
        alone = self._training.step_alone()
        begun = time.perf_counter()
        under_way = state_dict_saver.async_save(self._state(), storage_writer=self._writer())
        figures.stalls.append(time.perf_counter() - begun)
        assert isinstance(under_way, Future)
        slow = self._training.steps_until(under_way.done)
        under_way.result()
        figures.durable.append(time.perf_counter() - begun)
        figures.lost.append(figures.stalls[-1] + sum(slow) - alone * len(slow))

    def load(self) -> float:
        """Seconds."""
        begun = time.perf_counter()
        state = self._state()
        state_dict_loader.load(state, storage_reader=FsspecReader(self._uri(), **self._options))
        set_state_dict(
            self._training.model,
            self._training.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )
        return time.perf_counter() - begun

    def stored_bytes(self) -> int:
        return int(self._files.du(self._uri()))

    def _state(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self._training.model, self._training.optimizer)
        return {"model": model, "optimizer": optimizer}

    def _drop(self) -> None:
        """The one before: the disk need not hold all."""
        if self._number:
            self._files.rm(self._uri(), recursive=True)

    def _uri(self) -> str:
        return f"s3://{BUCKET}/{self._prefix}/{self._number}"

    def _writer(self) -> FsspecWriter:
        """For the next one."""
        self._number += 1
        return FsspecWriter(self._uri(), thread_count=THREADS, **self._options)


def _made_state(megabytes: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    training = Training(megabytes)
    return training.model, training.optimizer


def _after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end


def measure(training: Training, server: Server, *, latency_ms: int, runs: int) -> None:
    with proxy_process(server.endpoint_url, latency_ms=latency_ms) as endpoint_url:
        storage = Storage(uri=f"s3://{BUCKET}/ours-{latency_ms}", endpoint_url=endpoint_url)
        store = open_store(storage, environ=server.environ)
        ours = Ours(training, store)
        sync = Peer(training, server, endpoint_url, f"sync-{latency_ms}")
        background = Peer(training, server, endpoint_url, f"async-{latency_ms}")
        first = Figures()
        ours.save(first)  # lays out the files and takes the memory for the copy
        say(f"{latency_ms} ms: the first checkpoint: stall {first.stalls[0]:.3f} s")
        ours_figures, sync_figures, async_figures = Figures(), Figures(), Figures()
        background.save_async(Figures())
        for number in range(runs):
            ours.save(ours_figures)
            sync.save(sync_figures)
            background.save_async(async_figures)
            stalls = _last(ours_figures, sync_figures, async_figures)
            say(f"{latency_ms} ms, round {number + 1} of {runs}: stalls {stalls}")
        assert sync.stored_bytes() >= 1e9 * training.gigabytes, "the peer has written all of it"
        _emit_saves(training, f"{latency_ms}ms", ours_figures, sync_figures, async_figures)
        _emit_loads(training, f"{latency_ms}ms", ours, sync, runs=runs)
        store.close()


def _last(*figures: Figures) -> str:
    return ", ".join(f"{one.stalls[-1]:.3f} s (durable {one.durable[-1]:.1f} s)" for one in figures)


def _emit_saves(training: Training, name: str, ours: Figures, sync: Figures, background: Figures) -> None:
    milliseconds = [1000 * stall for stall in ours.stalls]
    for peer, figures, goal in (("DCP save", sync, STALL_GOAL), ("DCP async_save", background, None)):
        theirs = [1000 * stall for stall in figures.stalls]
        emit(Point("checkpoint", f"stall-{name}", milliseconds, "ms", goal, peer, theirs))
        emit(
            Point(
                "checkpoint",
                f"save-{name}",
                _rates(training, ours.durable),
                "GB/s",
                peer=peer,
                peer_values=_rates(training, figures.durable),
                higher_is_better=True,
            )
        )
        emit(Point("checkpoint", f"lost-{name}", ours.lost, "s", peer=peer, peer_values=figures.lost))


def _emit_loads(training: Training, name: str, ours: Ours, peer: Peer, *, runs: int) -> None:
    pairs = [(ours.load(), peer.load()) for _ in range(runs)]
    mine, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    emit(
        Point(
            "checkpoint",
            f"load-{name}",
            _rates(training, mine),
            "GB/s",
            peer="DCP load",
            peer_values=_rates(training, theirs),
            higher_is_better=True,
        )
    )


def _files(server: Server, endpoint_url: str) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(
        key=server.access_key,
        secret=server.secret_key,
        endpoint_url=endpoint_url,
        use_listings_cache=False,
    )


def _rates(training: Training, seconds: list[float]) -> list[float]:
    return [training.gigabytes / second for second in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000, help="of state")
    parser.add_argument("--quick", action="store_true", help="64 MB, one round, no latency: that it works")
    parser.add_argument("--memory-only", action="store_true", help="loads from the pods' memory alone")
    parser.add_argument("--folder", type=Path, default=None, help="of the server's files; a temporary one")
    asked = parser.parse_args()
    megabytes, runs = (64, 1) if asked.quick else (asked.megabytes, asked.runs)
    torch.manual_seed(0)
    with (
        tempfile.TemporaryDirectory(prefix="bench-checkpoint-", dir=asked.folder) as folder,
        running_server(Path(folder)) as server,
    ):
        _files(server, server.endpoint_url).mkdir(BUCKET)
        # async_save needs a process group.
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
        training = Training(megabytes)
        latencies = LATENCIES_MS[:1] if asked.quick else LATENCIES_MS
        for latency_ms in () if asked.memory_only else latencies:
            measure(training, server, latency_ms=latency_ms, runs=runs)
        dist.destroy_process_group()
        del training
        for latency_ms in latencies:
            measure_memory(
                server, _made_state, bucket=BUCKET, latency_ms=latency_ms, megabytes=megabytes, runs=runs
            )
        if asked.memory_only:
            return
        measure_recovery(Path(folder), server, bucket=BUCKET, megabytes=megabytes, runs=runs)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
