"""A run before it has a model: its ranks, its epoch of the commit log, its data.

It decides what is read and in which order. It does not know what is trained.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.recipe import model_digest
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.disk_cache import DiskCache
from deepseek_workloads.data.evaluation_sets import evaluation_plan
from deepseek_workloads.data.held_out import HeldOutReader
from deepseek_workloads.data.manifest import DatasetError, PinnedManifest, pin_manifest
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.data.top_k_reader import TopKReader
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, LogEntry, Writer
from deepseek_workloads.train.checkpoint import Identity, Position
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.group import Group, choose_device
from deepseek_workloads.train.replicas.folder import MemoryReplicas


@dataclass(frozen=True)
class Epoch:
    """What rank 0's Writer stands for, as far as all ranks must know it."""

    number: int
    entries: Sequence[LogEntry]  # all that older epochs have committed
    run_config_digest: str


@dataclass(frozen=True)
class EvaluationSet:
    name: str
    held_out: HeldOutReader


@dataclass(frozen=True)
class DataSources:
    plan: SamplePlan
    stores: tuple[ObjectStore, ...]
    digests: tuple[str, ...]
    held_out: HeldOutReader
    evaluated: tuple[EvaluationSet, ...] = ()

    def tokenizer_document(self) -> bytes:
        """`tokenizer.json` of the first source; `SamplePlan` has seen that all sources share one."""
        manifest, store = self.plan.manifests[0], self.stores[0]
        content = store.read(manifest.tokenizer_key)
        if sha256_digest(content) != manifest.tokenizer_digest:
            raise DatasetError(
                f"{store.uri}/{manifest.tokenizer_key}: digest {sha256_digest(content)}: must be "
                f"{manifest.tokenizer_digest}; restore the tokenizer of the dataset"
            )
        return content


@dataclass(frozen=True)
class Opened:
    run: TrainingRun
    group: Group
    store: ObjectStore
    writer: Writer | None  # rank 0's
    epoch: Epoch
    data: DataSources
    identity: Identity
    memory: MemoryReplicas | None

    def stream(
        self,
        position: Position,
        *,
        rank: int,
        world_size: int,
        micro_batch_size: int,
        top_k: TopKReader | None = None,
    ) -> BatchStream:
        """The data that is left from `position` to the run's last step. Rank and size are those of reading:
        ranks that divide a sample between them read the same."""
        training, start = self.run.training, position.consumed_samples
        return BatchStream(
            self.data.plan,
            self.data.stores,
            rank=rank,
            world_size=world_size,
            global_batch_size=training.global_batch_size,
            micro_batch_size=micro_batch_size,
            start_sample=start,
            end_sample=start + (training.steps - position.step) * training.global_batch_size,
            disk=_disk_cache(self.run),
            top_k=top_k,
        )


def _disk_cache(run: TrainingRun) -> DiskCache | None:
    """One for all processes of the pod: each of them reads all blocks."""
    if run.data.cache_bytes is None:
        return None
    return DiskCache(Path(environment.BLOCK_CACHE_DIR), capacity_bytes=run.data.cache_bytes)


def open_run(run: TrainingRun, context: TrainContext) -> Opened:
    """A collective. Raises Fenced, StoreErrors and DatasetError."""
    device = choose_device(gpus=run.workers.gpus_per_node, local_rank=context.local_rank)
    group = context.join_group(context.rank, context.world_size, device)
    _configure_torch(run, group)
    store = context.open_store(run.storage)
    writer, epoch = _begin_epoch(store, context, group)
    data = open_data(run, context.open_store, group)
    identity = Identity(model_digest(run), data.digests)
    return Opened(run, group, store, writer, epoch, data, identity, context.memory)


def _configure_torch(run: TrainingRun, group: Group) -> None:
    if group.device.type == "cpu":
        threads = run.workers.cpus_per_node / run.workers.num_proc_per_node
        torch.set_num_threads(max(1, int(threads)))
    if run.training.deterministic:
        # What torch demands of cuBLAS for it, before the first product; on CPUs nobody reads it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same switch as `use_deterministic_algorithms`, which also imports torch's compiler.
    torch.set_deterministic_debug_mode("error" if run.training.deterministic else "default")


def _begin_epoch(store: ObjectStore, context: TrainContext, group: Group) -> tuple[Writer | None, Epoch]:
    writers: list[Writer] = []

    def begin() -> Epoch:
        writer = context.begin_epoch(CommitLog(store))
        writers.append(writer)
        return Epoch(writer.epoch, writer.entries, writer.run_config_digest)

    epoch = group.on_rank_zero(begin)
    return (writers[0] if writers else None), epoch


def open_data(run: TrainingRun, open_store: Callable[[Storage], ObjectStore], group: Group) -> DataSources:
    """A collective: rank 0 reads the manifests for all, so that all have the same."""
    sources, sets = run.data.sources, run.evaluation.sources or []
    opened = [open_store(source.storage) for source in (*sources, *sets)]

    def pin() -> list[PinnedManifest]:
        return [
            pin_manifest(store, source.digest)
            for store, source in zip(opened, (*sources, *sets), strict=True)
        ]

    pinned = group.on_rank_zero(pin)
    manifests, count = [manifest.manifest for manifest in pinned], len(sources)
    disk = _disk_cache(run)
    plans = [
        evaluation_plan(run, source, manifest, store, trained=manifests[0])
        for source, manifest, store in zip(sets, manifests[count:], opened[count:], strict=True)
    ]
    evaluated = tuple(
        EvaluationSet(source.name, HeldOutReader(plan, [store], disk=disk))
        for source, plan, store in zip(sets, plans, opened[count:], strict=True)
    )
    stores = tuple(opened[:count])
    plan = sample_plan(run, manifests[:count], stores)
    digests = tuple(manifest.digest for manifest in pinned[:count])
    return DataSources(plan, stores, digests, HeldOutReader(plan, stores, disk=disk), evaluated)
