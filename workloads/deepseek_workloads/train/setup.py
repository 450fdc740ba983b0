"""From an opened run to everything that our loop needs: model, optimizer, the state to go on from."""

from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial

import torch

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.conversations import run_on, sample_plan
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.top_k import mismatches, read_teacher_logits
from deepseek_workloads.data.top_k_reader import TopKReader
from deepseek_workloads.export.start import open_initial_model, open_vision_checkpoint
from deepseek_workloads.export.stream_weights import load_vision_weights, load_weights
from deepseek_workloads.plan.estimate import choose_micro_batch_size
from deepseek_workloads.train import checkpoint
from deepseek_workloads.train.anchor import Anchor, make_anchor
from deepseek_workloads.train.compile import whether_compiled
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.distil import Distillation
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.loss_scale import LossScale, loss_scale_for
from deepseek_workloads.train.models import model_of
from deepseek_workloads.train.opened import Opened, open_run
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.precision import DTYPES
from deepseek_workloads.train.prune import ChannelPruning
from deepseek_workloads.train.teacher import load_teacher
from deepseek_workloads.train.watch.guard import Guard
from deepseek_workloads.train.watch.idle_experts import IdleExperts
from deepseek_workloads.train.watch.memory import memory_share


@dataclass(frozen=True)
class Setup(Opened):
    model: ParallelModel
    optimizer: torch.optim.Optimizer
    loss_scale: LossScale | None  # where anything is computed in fp16
    parts: tuple[checkpoint.StatePart, ...]  # what else a checkpoint holds
    pruning: ChannelPruning | None
    anchor: Anchor | None
    distillation: Distillation | None
    top_k: TopKReader | None  # of what a teacher foresees, where it was stored
    guard: Guard
    idle_experts: IdleExperts | None  # of a mixture of ours
    micro_batch_size: int
    loaded: checkpoint.Loaded
    warnings: tuple[str, ...] = ()  # of what the run goes without


def set_up(run: TrainingRun, context: TrainContext) -> Setup:
    """A collective. Raises Fenced, StoreErrors, DatasetError and ExportError."""
    opened = open_run(run, context)
    group, training = opened.group, run.training
    compiled, warning = whether_compiled(run, group.device)
    model = model_of(run, group, compiled=compiled)
    optimizer = build_optimizer(model.plain, training.optimizer)
    loss_scale = loss_scale_for(training)
    pruning = ChannelPruning(model.deepseek, training.pruning) if training.pruning else None
    guard = Guard(
        lambda: context.monitor.control.alerts or run.alerts,
        partial(memory_share, group.device),
        largest_expert_load=_largest_expert_load(run),
    )
    idle_experts = _idle_experts(model, group)
    parts = tuple(part for part in (loss_scale, pruning, guard, idle_experts) if part is not None)
    anchor = _anchor(run, context, opened, model)
    loaded = checkpoint.load_latest(
        opened.store,
        group,
        entries=opened.epoch.entries,
        model=model.module,
        optimizer=optimizer,
        identity=opened.identity,
        parts=parts,
        memory=opened.memory,
    )
    if loaded.entry is None and anchor is None:  # which was made of them
        _first_weights(run, context, group, model)
    return Setup(
        **{field.name: getattr(opened, field.name) for field in fields(Opened)},
        model=model,
        optimizer=optimizer,
        loss_scale=loss_scale,
        parts=parts,
        pruning=pruning,
        anchor=anchor,
        distillation=_distillation(run, context, model, group),
        top_k=_stored_teacher(run, context, opened),
        guard=guard,
        idle_experts=idle_experts,
        micro_batch_size=choose_micro_batch_size(run),
        loaded=loaded,
        warnings=() if warning is None else (warning,),
    )


def _first_weights(run: TrainingRun, context: TrainContext, group: Group, model: ParallelModel) -> None:
    """Random ones; with `init_from` those that lie there, and random ones only of what it lacks: to draw a
    large model takes long. Both before any checkpoint exists only."""
    if run.init_from is None:
        model.plain.init_weights(run.data.seed)
    else:
        with closing(context.open_store(run.init_from)) as store:
            reader = open_initial_model(store, recorded=run.init_from.digest)
            taken = load_weights(reader, model.deepseek, run.architecture, group=group)
        model.deepseek.init_weights(run.data.seed, but=taken)
    if run.vision_init_from is not None:
        with closing(context.open_store(run.vision_init_from)) as store:
            encoder = open_vision_checkpoint(store, run.architecture)
            load_vision_weights(encoder, model.deepseek, run.architecture, group=group)
    if not group.torch_distributed:
        group.broadcast(model.plain.state_dict().values())


def _distillation(
    run: TrainingRun, context: TrainContext, model: ParallelModel, group: Group
) -> Distillation | None:
    """A collective: every rank reads the whole teacher, in what the run computes in; none where its logits
    were stored."""
    wanted = run.training.distillation
    if wanted is None:
        return None
    student = model.deepseek.lm_head
    if wanted.teacher is None:
        return Distillation(student, None, alpha=wanted.alpha, temperature=wanted.temperature)
    dtype = DTYPES[run.training.precision]
    teacher = load_teacher(wanted.teacher, context.open_store, dtype=dtype, group=group)
    return Distillation(student, teacher, alpha=wanted.alpha, temperature=wanted.temperature)


def _stored_teacher(run: TrainingRun, context: TrainContext, opened: Opened) -> TopKReader | None:
    """A collective: rank 0 reads the manifest for all. Raises DatasetError where it is of something else."""
    wanted = run.training.distillation
    if wanted is None or wanted.teacher_logits is None:
        return None
    location = wanted.teacher_logits
    store = context.open_store(location)
    stored = opened.group.on_rank_zero(lambda: read_teacher_logits(store, location.digest))
    for problem in mismatches(stored, run, opened.data.digests):
        raise DatasetError(f"spec.training.distillation.teacherLogits: {store.uri}: {problem}")
    windows = [source.windows for source in opened.data.plan.sources]
    return TopKReader(store, stored, opened.data.digests, windows)


def _largest_expert_load(run: TrainingRun) -> float | None:
    """Over the mean load, of an expert that takes every token. None: there are none, or of a user's code."""
    moe = run.architecture.moe
    if moe is None or run.model_function is not None:
        return None
    return moe.n_routed_experts / moe.num_experts_per_tok


def _idle_experts(model: ParallelModel, group: Group) -> IdleExperts | None:
    layers, experts = len(model.mixture_layers), model.plain.architecture.routed_experts
    return IdleExperts(layers, experts, group.device) if layers else None


def _anchor(run: TrainingRun, context: TrainContext, opened: Opened, model: ParallelModel) -> Anchor | None:
    """Made of the weights that the run started from, whatever checkpoint follows."""
    wanted = run.training.consolidation
    if wanted is None:
        return None
    _first_weights(run, context, opened.group, model)
    place = next(i for i, source in enumerate(run.data.sources) if source.name == wanted.source)
    manifests, stores = opened.data.plan.manifests, opened.data.stores
    source = run.data.sources[place].model_copy(update={"max_epochs": None})
    return make_anchor(
        model,
        opened.group,
        plan=sample_plan(run_on(source, run), [manifests[place]], [stores[place]]),
        stores=[stores[place]],
        samples=wanted.samples,
        strength=wanted.strength,
        loss_scale=loss_scale_for(run.training),  # of its own: the run's follows the run's steps
    )
