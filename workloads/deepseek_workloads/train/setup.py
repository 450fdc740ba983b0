"""From a run config to everything that a loop needs: epoch, data, model, optimizer, the state to go on from.

It decides what is read and in which order; what happens in a step is the loop's.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError, PinnedManifest, pin_manifest
from deepseek_workloads.export.start import open_initial_model
from deepseek_workloads.export.stream_weights import load_weights
from deepseek_workloads.plan.estimate import choose_micro_batch_size
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, LogEntry, Writer
from deepseek_workloads.train import checkpoint
from deepseek_workloads.train.adapt import adapt_model
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.group import Group, choose_device
from deepseek_workloads.train.loss_scale import LossScale
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.parallelise import ParallelModel, parallelise


@dataclass(frozen=True)
class Epoch:
    """What rank 0's Writer stands for, as far as all ranks must know it."""

    number: int
    entries: Sequence[LogEntry]  # all that older epochs have committed
    run_config_digest: str


@dataclass(frozen=True)
class DataSources:
    plan: SamplePlan
    stores: tuple[ObjectStore, ...]
    digests: tuple[str, ...]

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
class Setup:
    run: TrainingRun
    group: Group
    store: ObjectStore
    writer: Writer | None  # rank 0's
    epoch: Epoch
    data: DataSources
    model: ParallelModel
    optimizer: torch.optim.Optimizer
    loss_scale: LossScale | None  # of fp16
    parts: tuple[checkpoint.StatePart, ...]  # what else a checkpoint holds
    micro_batch_size: int
    identity: checkpoint.Identity
    loaded: checkpoint.Loaded


def set_up(run: TrainingRun, context: TrainContext) -> Setup:
    """A collective. Raises Fenced, StoreErrors, DatasetError and ExportError."""
    device = choose_device(gpus=run.workers.gpus_per_node, local_rank=context.local_rank)
    group = context.join_group(context.rank, context.world_size, device)
    _configure_torch(run, group)
    store = context.open_store(run.storage)
    writer, epoch = _begin_epoch(store, context, group)
    data = _open_data(run, context, group)
    identity = checkpoint.Identity(sha256_digest(run.architecture.to_json()), data.digests)
    training = run.training
    model = parallelise(
        run.architecture,
        training.parallelism,
        precision=training.precision,
        group=group,
        adapt=partial(adapt_model, training=training),
        precision_varies=bool(training.precision_overrides),
    )
    optimizer = build_optimizer(model.plain, training.optimizer)
    loss_scale = LossScale() if training.precision == "fp16" else None
    parts: tuple[checkpoint.StatePart, ...] = (loss_scale,) if loss_scale is not None else ()
    loaded = checkpoint.load_latest(
        store,
        group,
        entries=epoch.entries,
        model=model.module,
        optimizer=optimizer,
        identity=identity,
        parts=parts,
    )
    if loaded.entry is None:
        _first_weights(run, context, group, model)
    return Setup(
        run=run,
        group=group,
        store=store,
        writer=writer,
        epoch=epoch,
        data=data,
        model=model,
        optimizer=optimizer,
        loss_scale=loss_scale,
        parts=parts,
        micro_batch_size=choose_micro_batch_size(run),
        identity=identity,
        loaded=loaded,
    )


def _configure_torch(run: TrainingRun, group: Group) -> None:
    if group.device.type == "cpu":
        threads = run.workers.cpus_per_node / run.workers.num_proc_per_node
        torch.set_num_threads(max(1, int(threads)))
    torch.use_deterministic_algorithms(run.training.deterministic)


def _begin_epoch(store: ObjectStore, context: TrainContext, group: Group) -> tuple[Writer | None, Epoch]:
    writers: list[Writer] = []

    def begin() -> Epoch:
        writer = context.begin_epoch(CommitLog(store))
        writers.append(writer)
        return Epoch(writer.epoch, writer.entries, writer.run_config_digest)

    epoch = group.on_rank_zero(begin)
    return (writers[0] if writers else None), epoch


def _open_data(run: TrainingRun, context: TrainContext, group: Group) -> DataSources:
    """Rank 0 reads the manifests for all, so that all have the same."""
    stores = tuple(context.open_store(source.storage) for source in run.data.sources)

    def pin() -> list[PinnedManifest]:
        return [
            pin_manifest(store, source.digest) for store, source in zip(stores, run.data.sources, strict=True)
        ]

    pinned = group.on_rank_zero(pin)
    plan = sample_plan(run, [manifest.manifest for manifest in pinned], stores)
    return DataSources(plan, stores, tuple(manifest.digest for manifest in pinned))


def _first_weights(run: TrainingRun, context: TrainContext, group: Group, model: ParallelModel) -> None:
    """Random ones; with `init_from` those that lie there. Both before any checkpoint exists only."""
    model.plain.init_weights(run.data.seed)
    if run.init_from is not None:
        with closing(context.open_store(run.init_from)) as store:
            reader = open_initial_model(store, recorded=run.init_from.digest)
            if model.pipeline is None:
                load_weights(reader, model.plain, run.architecture, group=group)
            else:
                model.load_stages(reader.state(run.architecture) if group.rank == 0 else {}, group)
    if not group.torch_distributed:
        group.broadcast(model.plain.state_dict().values())
