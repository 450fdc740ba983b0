"""How long a restart in place takes to load its state: from the pods' memory against S3 behind a latency.

Two ranks that hold the same state, as two pods of one rank each on this machine, joined by gloo: both read
all of it. `own`: each pod's memory holds every file. `peer`: rank 1's pod is another, so that all of its
state comes from rank 0 over the connection. `S3`: no memory is left. The three in turns, of the same
checkpoint; the memory is /dev/shm, as in a pod. Seconds are those of the slower rank.
"""

import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from report import Point, emit, say
from torch import nn

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.checkpoint import Identity, Position, load_latest
from deepseek_workloads.train.checkpoint_writer import CheckpointWriter, Place, State, Wanted
from deepseek_workloads.train.group import torch_group
from deepseek_workloads.train.replicas.folder import MemoryReplicas, ReplicaFolder
from local_object_store import Server, proxy_process

RANKS: Final = 2
IDENTITY: Final = Identity("sha256:bench", ())
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - what is measured
MakeState = Callable[[int], tuple[nn.Module, torch.optim.Optimizer]]


def measure_memory(
    server: Server, make_state: MakeState, *, bucket: str, latency_ms: int, megabytes: int, runs: int
) -> None:
    """`make_state`: from megabytes; a function of a module."""
    with (
        proxy_process(server.endpoint_url, latency_ms=latency_ms) as endpoint_url,
        tempfile.TemporaryDirectory(prefix="replicas-", dir=SHARED_MEMORY) as folder,
    ):
        storage = Storage(uri=f"s3://{bucket}/memory-{latency_ms}", endpoint_url=endpoint_url)
        seconds = _run_ranks((folder, storage, server.environ, make_state, megabytes, runs))
    for name in ("own", "peer"):
        say(f"{latency_ms} ms: from {name} memory {seconds[name]}, from S3 {seconds['S3']}")
        point = f"restart-load-{name}-memory-{latency_ms}ms"
        emit(Point("checkpoint", point, seconds[name], "s", peer="S3", peer_values=seconds["S3"]))


def _run_ranks(arguments: tuple[Any, ...]) -> dict[str, list[float]]:
    context = get_context("spawn")
    results = context.SimpleQueue()
    ranks = [context.Process(target=_rank, args=(rank, results, *arguments)) for rank in range(RANKS)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    if any(rank.exitcode for rank in ranks):
        raise RuntimeError(f"ranks ended with {[rank.exitcode for rank in ranks]}")
    seconds: dict[str, list[float]] = results.get()
    return seconds


def _rank(
    rank: int,
    results: Any,
    folder: str,
    storage: Storage,
    environ: dict[str, str],
    make_state: MakeState,
    megabytes: int,
    runs: int,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    model, optimizer = make_state(megabytes)
    group = torch_group(rank, RANKS, torch.device("cpu"))
    store = open_store(storage, environ=environ)
    log = CommitLog(store).begin_epoch(run_config_digest="sha256:bench") if rank == 0 else None
    place, memory = Place(store, log, 1, IDENTITY), _memory(folder, rank)
    writer = CheckpointWriter(place, State(model, optimizer), group, in_background=False, memory=memory)
    writer.begin(Wanted(Position(1), {}, "schedule", before_commit=lambda: None))
    writer.wait()
    entries = CommitLog(store).records()

    def load(memory: MemoryReplicas, *, asks_store: bool) -> float:
        dist.barrier()
        begun = time.perf_counter()
        loaded = load_latest(
            store, group, entries=entries, model=model, optimizer=optimizer, identity=IDENTITY, memory=memory
        )
        assert (loaded.from_memory == 0) == asks_store
        seconds = torch.tensor(time.perf_counter() - begun)
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        return float(seconds)

    empty = MemoryReplicas(ReplicaFolder(Path(folder, f"empty-{rank}")), f"pod-{rank}", 2)
    figures: dict[str, list[float]] = {"own": [], "peer": [], "S3": []}
    for _ in range(runs):
        figures["own"].append(load(memory, asks_store=False))
        figures["peer"].append(load(memory if rank == 0 else empty, asks_store=False))
        figures["S3"].append(load(empty, asks_store=True))
    if rank == 0:
        results.put(figures)
    store.close()
    writer.close()
    dist.destroy_process_group()


def _memory(folder: str, rank: int) -> MemoryReplicas:
    return MemoryReplicas(ReplicaFolder(Path(folder, f"pod-{rank}")), f"pod-{rank}", 2)
