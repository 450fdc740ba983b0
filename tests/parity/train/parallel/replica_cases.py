"""What ranks do in `test_memory_replicas`: a checkpoint is written, memories are lost or wrong, it is loaded.

The ranks are one pod each. Store, log, writer and loader are the real ones.
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from cases import ARCHITECTURE
from torch import Tensor
from torch.distributed.tensor import DTensor

from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ByteRange, ObjectStore
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.train import checkpoint_files
from deepseek_workloads.train.adapt import checkpoint_activations
from deepseek_workloads.train.checkpoint import Identity, Position, load_latest
from deepseek_workloads.train.checkpoint_writer import CheckpointWriter, Place, State, Wanted
from deepseek_workloads.train.group import torch_group
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.parallelise import parallelise
from deepseek_workloads.train.replicas.folder import MemoryReplicas, ReplicaFolder

IDENTITY = Identity("sha256:model", ())
SHARDED, WHOLE = Parallelism(zero_stage=2), Parallelism(zero_stage=0)


@dataclass(frozen=True)
class Damage:
    """Before a load."""

    lost: tuple[int, ...] = ()  # pods whose memory is empty
    flipped: tuple[int, ...] = ()  # pods that have a wrong bit in each file


@dataclass(frozen=True)
class Outcome:
    equal: bool  # to the bit, on every rank
    read: frozenset[str]  # keys that some rank read from the store, the log's aside
    from_memory: int  # bytes, of all ranks


@dataclass(frozen=True)
class Wish:
    folder: str
    copies: int = 2
    mode: str = "async"
    saves: int = 1  # steps; the last is loaded
    loads: tuple[tuple[Damage, Parallelism], ...] = ()


class ReadsSeen:
    """A store that remembers which objects were read."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.keys: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, key: str) -> bytes:
        self.keys.add(key)
        return self._store.read(key)

    def read_ranges(self, ranges: list[ByteRange]) -> list[bytes]:
        self.keys.update(asked.key for asked in ranges)
        return self._store.read_ranges(ranges)


def save_and_load(rank: int, ranks: int, wish: Wish) -> tuple[list[str], list[Outcome]]:
    """The keys of the files of the last checkpoint, and what came of each load."""
    return _saved(rank, ranks, wish), load(rank, ranks, wish)


def _saved(rank: int, ranks: int, wish: Wish) -> list[str]:
    checkpoint_files._FILE_BYTES = 20_000  # several files a rank
    store, state = FileObjectStore(Path(wish.folder, "store")), _state(rank, ranks, SHARDED)
    log = CommitLog(store).begin_epoch(run_config_digest="sha256:run") if rank == 0 else None
    writer = CheckpointWriter(
        Place(store, log, 1, IDENTITY),
        state,
        torch_group(rank, ranks, torch.device("cpu")),
        in_background=wish.mode == "async",
        memory=_memory(wish, rank),
    )
    for step in range(1, wish.saves + 1):
        _fill(state, seed=wish.saves - step)
        writer.begin(Wanted(Position(step), {}, "schedule", before_commit=lambda: None))
        writer.wait()
    writer.close()
    if log is None:
        return []
    record: Any = log.entries[-1].record
    return [file.key for file in record.files]


def load(rank: int, ranks: int, wish: Wish) -> list[Outcome]:
    """After each damage, whose memory is as it was saved otherwise."""
    outcomes = []
    for number, (damage, parallelism) in enumerate(wish.loads):
        memory = _damaged(wish, rank, damage, number)
        dist.barrier()
        outcomes.append(_loaded(rank, ranks, wish, parallelism, memory))
    return outcomes


def _loaded(rank: int, ranks: int, wish: Wish, parallelism: Parallelism, memory: MemoryReplicas) -> Outcome:
    store: Any = ReadsSeen(FileObjectStore(Path(wish.folder, "store")))
    state = _state(rank, ranks, parallelism)
    entries = CommitLog(FileObjectStore(Path(wish.folder, "store"))).records()
    loaded = load_latest(
        store,
        torch_group(rank, ranks, torch.device("cpu")),
        entries=entries,
        model=state.model,
        optimizer=state.optimizer,
        identity=IDENTITY,
        memory=memory,
    )
    assert loaded.position.step == wish.saves
    expected = _state(rank, ranks, parallelism)
    _fill(expected, seed=0)
    equal = all(
        torch.equal(_local(found), _local(wanted))
        for found, wanted in zip(state.tensors().values(), expected.tensors().values(), strict=True)
    )
    told: list[Any] = [None] * ranks
    dist.all_gather_object(told, (equal, store.keys, loaded.from_memory))
    return Outcome(
        all(one[0] for one in told),
        frozenset().union(*(one[1] for one in told)),
        sum(one[2] for one in told),
    )


def _state(rank: int, ranks: int, parallelism: Parallelism) -> State:
    """With an optimizer that has taken a step."""
    model = parallelise(
        ARCHITECTURE,
        parallelism,
        precision="fp32",
        group=torch_group(rank, ranks, torch.device("cpu")),
        adapt=partial(checkpoint_activations, mode="none"),
    )
    model.plain.init_weights(3)
    optimizer = build_optimizer(model.plain, Optimizer())
    for parameter in model.plain.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return State(model.module, optimizer)


def _fill(state: State, *, seed: int) -> None:
    """Values that depend on the place in the whole tensor only."""
    for number, (name, tensor) in enumerate(sorted(state.tensors().items())):
        if not tensor.is_floating_point() or name.endswith(".step"):
            continue
        whole = torch.arange(tensor.numel(), dtype=torch.float32).view(tensor.shape)
        whole = torch.sin(whole + number + 1000 * seed).abs().to(tensor.dtype)
        with torch.no_grad():
            if isinstance(tensor, DTensor):
                offsets = tensor.__create_chunk_list__()
                for chunk in offsets:
                    place = tuple(
                        slice(start, start + size)
                        for start, size in zip(chunk.offsets, chunk.sizes, strict=True)
                    )
                    tensor.to_local().copy_(whole[place])
            else:
                tensor.copy_(whole)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _memory(wish: Wish, rank: int, folder: str = "memory") -> MemoryReplicas:
    pod = f"worker-{rank}"
    return MemoryReplicas(ReplicaFolder(Path(wish.folder, folder, pod)), pod, wish.copies)


def _damaged(wish: Wish, rank: int, damage: Damage, number: int) -> MemoryReplicas:
    """A copy of what the pod holds, as a successor finds it."""
    source, name = Path(wish.folder, "memory", f"worker-{rank}"), f"memory-{number}"
    memory = _memory(wish, rank, name)
    if rank in damage.lost:
        return memory
    target = Path(wish.folder, name, f"worker-{rank}")
    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in [path for path in target.rglob("*") if path.is_file()] if rank in damage.flipped else ():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    return memory
