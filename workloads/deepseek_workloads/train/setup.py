"""From an opened run to everything that our loop needs: model, optimizer, the state to go on from."""

from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial

import torch

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.export.start import open_initial_model
from deepseek_workloads.export.stream_weights import load_weights
from deepseek_workloads.plan.estimate import choose_micro_batch_size
from deepseek_workloads.train import checkpoint
from deepseek_workloads.train.adapt import adapt_model
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.loss_scale import LossScale
from deepseek_workloads.train.opened import Opened, open_run
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.parallelise import ParallelModel, parallelise


@dataclass(frozen=True)
class Setup(Opened):
    model: ParallelModel
    optimizer: torch.optim.Optimizer
    loss_scale: LossScale | None  # of fp16
    parts: tuple[checkpoint.StatePart, ...]  # what else a checkpoint holds
    micro_batch_size: int
    loaded: checkpoint.Loaded


def set_up(run: TrainingRun, context: TrainContext) -> Setup:
    """A collective. Raises Fenced, StoreErrors, DatasetError and ExportError."""
    opened = open_run(run, context)
    group, training = opened.group, run.training
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
        opened.store,
        group,
        entries=opened.epoch.entries,
        model=model.module,
        optimizer=optimizer,
        identity=opened.identity,
        parts=parts,
    )
    if loaded.entry is None:
        _first_weights(run, context, group, model)
    return Setup(
        **{field.name: getattr(opened, field.name) for field in fields(Opened)},
        model=model,
        optimizer=optimizer,
        loss_scale=loss_scale,
        parts=parts,
        micro_batch_size=choose_micro_batch_size(run),
        loaded=loaded,
    )


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
