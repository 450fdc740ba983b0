"""Spreads a model over ranks: one copy each, or shards and slices of it. It does not know optimizers.

zeroStage 0: every rank has everything, gradients are averaged (by DistributedDataParallel, or by the group).
zeroStage 1-3: weights, gradients and optimizer states are kept in shards (FSDP2), and
    1: gradients are whole until the last pass of a step, 2: they are reduced in every pass,
    3: weights are whole only around the layer that runs.
The other degrees are plans of `train.parallel`, which are applied before the shards are made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.export.gather import whole_state
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.trainable import LossParts, TrainableModel
from deepseek_workloads.plan.layout import Layout, Place, layout_of
from deepseek_workloads.train.group import GradientAverage, Group
from deepseek_workloads.train.parallel.context import ContextShard
from deepseek_workloads.train.parallel.expert import correct_expert_gradients
from deepseek_workloads.train.parallel.gradients import clip_gradients, gradient_norm, own_part
from deepseek_workloads.train.parallel.meshes import make_meshes
from deepseek_workloads.train.parallel.shard import sharding_of
from deepseek_workloads.train.parallel.spread import Adapt, mixture_layers, spread_model
from deepseek_workloads.train.parallel.whole import gather_stages
from deepseek_workloads.train.precision import DTYPES

if TYPE_CHECKING:
    from deepseek_workloads.train.parallel.pipeline import Pipeline


@dataclass(frozen=True)
class ParallelModel:
    """`module` is what is called; `plain` the same parameters under their own names."""

    module: nn.Module
    plain: TrainableModel
    layout: Layout
    place: Place
    autocast: torch.dtype | None  # what the passes compute in, where the shards do not decide it
    reduce_in_every_pass: bool
    average: GradientAverage | None = None  # the group's, where `module` averages nothing
    context: ContextShard | None = None  # where ranks share sequences
    pipeline: "Pipeline | None" = None  # then `module` has this rank's layers only, and is not called
    mixture_layers: tuple[int, ...] = ()  # of the whole model; none of a user's

    @property
    def deepseek(self) -> DeepseekV3ForCausalLM:
        """`plain`, for what goes with no other model: `plan.own_model_rules` refuses it there."""
        assert isinstance(self.plain, DeepseekV3ForCausalLM)
        return self.plain

    @contextmanager
    def one_pass(self, *, last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch; `last`: gradients must be complete after it."""
        if self.average is not None:
            with self.average.one_pass(last=last):
                yield
            return
        if isinstance(self.module, FSDPModule):
            if not self.reduce_in_every_pass:
                self.module.set_requires_gradient_sync(last)
            yield
            if last:
                correct_expert_gradients(self.plain, self.layout)
            return
        replicas = isinstance(self.module, DistributedDataParallel)
        with self.module.no_sync() if replicas and not last else nullcontext():  # type: ignore[operator]
            yield

    def losses(self, input_ids: Tensor, labels: Tensor) -> LossParts:
        """int64 [B, T] of whole sequences each -> the mean over what this rank computes of them: all, or its
        share of the positions. The mean over ranks is the mean over the tokens."""
        places: dict[str, Any] = {}
        if self.context is not None:
            positions = self.context.own_positions(input_ids.shape[1], input_ids.device)
            input_ids, labels = input_ids[:, positions], labels[:, positions]
            caches = [self.context] * len(self.deepseek.model.layers)
            places = {"start": positions.unsqueeze(0), "caches": caches}
        parts: LossParts = self.module(input_ids, labels, **places)
        return parts

    @torch.no_grad()
    def loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Without gradients: as `losses`, the language model's part alone."""
        if self.pipeline is None:
            return self.losses(input_ids, labels).lm_loss
        if self.context is not None:
            positions = self.context.own_positions(input_ids.shape[1], input_ids.device)
            input_ids, labels = input_ids[:, positions], labels[:, positions]
        return self.pipeline.forward(input_ids, labels)

    def pipelined(self, input_ids: Tensor, labels: Tensor, *, passes: int, scale: float = 1.0) -> LossParts:
        """Where there is a pipeline: forward and backward of the `passes` micro-batches of a step, int64
        [passes * b, T] -> what this rank's layers bring to the mean over them, none for those of others.
        Gradients are `scale` times those of the mean."""
        assert self.pipeline is not None
        if self.context is not None:
            positions = self.context.own_positions(input_ids.shape[1], input_ids.device)
            input_ids, labels = input_ids[:, positions], labels[:, positions]
        tally = self.pipeline.train(input_ids, labels, passes=passes, scale=scale)
        correct_expert_gradients(self.plain, self.layout)
        experts = self.plain.architecture.routed_experts
        counts = torch.zeros(len(self.mixture_layers), experts, dtype=torch.int64, device=labels.device)
        dropped = counts.new_zeros(len(self.mixture_layers))
        for layer in tally.expert_counts:
            row = self.mixture_layers.index(layer)
            counts[row], dropped[row] = tally.expert_counts[layer], tally.dropped[layer]
        return LossParts(
            loss=sum(tally.auxiliary.values(), start=tally.loss),
            lm_loss=tally.loss,
            auxiliary=tally.auxiliary,
            tokens=labels.numel(),
            expert_counts=counts,
            dropped=dropped,
        )

    def logits(
        self, input_ids: Tensor, *, start: int | Tensor = 0, caches: Sequence[Cache] | None = None
    ) -> Tensor:
        """int64 [B, T], the same on ranks that read the same samples -> [B, T, V] on each of them. Ranks that
        share weights call it equally often."""
        if self.pipeline is not None:
            return self.pipeline.forward(input_ids, start=start, caches=caches)
        # Not the replicas' wrapper: ranks with the same weights need no hooks to look at them.
        logits: Tensor = self.plain(input_ids, start=start, caches=caches)
        return logits

    def update_router_bias(self, expert_counts: Tensor) -> None:
        """As the plain model's, of which this rank may have some layers."""
        if self.pipeline is not None:
            own = [layer for stage in self.pipeline.modules for layer in stage.own_layers]
            rows = [row for row, layer in enumerate(self.mixture_layers) if layer in own]
            expert_counts = expert_counts[rows]
        self.plain.update_router_bias(expert_counts)

    def whole_state(self, group: Group) -> dict[str, Tensor]:
        """A collective: every tensor whole on rank 0's CPU, by the plain model's names; nothing elsewhere."""
        if self.pipeline is not None:
            return gather_stages(self.plain, self.layout, self.place, group.device)
        return whole_state(self.module)

    def release(self) -> None:
        """Frees whole weights that a forward pass without a backward pass has left."""
        roots = [self.module] if self.pipeline is None else self.pipeline.modules
        for root in roots:
            for module in root.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()

    def compute(self, device: torch.device) -> torch.autocast | nullcontext[None]:
        """Around forward alone."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.autocast)

    def gradient_norm(self, group: Group) -> Tensor:
        """Of all gradients, on every rank. A collective."""
        gradients = self._gradients(counted_once=True)
        if self.layout.sharded or self.layout.model_parallel:
            return gradient_norm(gradients, group, stage_ranks=self.layout.stage)
        return torch.nn.utils.get_total_norm(gradients, foreach=True)

    def clip_gradients(self, norm: Tensor, *, clip_norm: float) -> None:
        clip_gradients(self._gradients(), clip_norm=clip_norm, norm=norm)

    def scale_gradients(self, factor: float) -> None:
        own = [own_part(gradient) for gradient in self._gradients()]  # of different meshes
        if own:
            torch._foreach_mul_(own, factor)

    def _gradients(self, *, counted_once: bool = False) -> list[Tensor]:
        copies = self.pipeline.copies if self.pipeline is not None and counted_once else None
        copy = copies.weight if copies is not None and not copies.counts else None
        return [
            p.grad
            for p in self.plain.parameters()
            if p.requires_grad and p.grad is not None and p is not copy
        ]


def parallelise(
    architecture: Architecture,
    parallelism: Parallelism,
    *,
    precision: str,
    group: Group,
    adapt: Adapt = lambda _model: None,
    precision_varies: bool = False,
) -> ParallelModel:
    """A model without values yet: `init_weights` or a checkpoint gives them. `precision` is fp32, bf16, fp16
    or fp8 (bf16 but for what `adapt` changes); weights, gradients and optimizer states are float32 in all.
    `adapt` sees the whole model before it is spread. `precision_varies`: modules choose what they compute in,
    so shards are gathered as they are."""
    compute = _compute_of(precision)
    layout = layout_of(parallelism, group.world_size)
    if group.world_size == 1 or not (layout.sharded or layout.model_parallel):
        with group.device:
            plain = DeepseekV3ForCausalLM(architecture)
        adapt(plain)
        # The only buffers are the routers', and every rank moves them alike: no broadcast is needed.
        mixtures = mixture_layers(plain)
        return _replicas(plain, group, compute, sync_buffers=False, mixtures=mixtures)
    gathered, autocast = (None, compute) if precision_varies else (compute, None)
    meshes = make_meshes(layout, rank=group.rank, device=group.device)
    spread = spread_model(
        architecture, parallelism, compute=gathered, meshes=meshes, device=group.device, adapt=adapt
    )
    return ParallelModel(
        module=spread.model,
        plain=spread.model,
        layout=layout,
        place=meshes.place,
        autocast=autocast,
        reduce_in_every_pass=parallelism.zero_stage >= 2,
        context=spread.context,
        pipeline=spread.pipeline,
        mixture_layers=spread.mixture_layers,
    )


def parallelise_whole(
    model: TrainableModel, parallelism: Parallelism, *, precision: str, group: Group
) -> ParallelModel:
    """A collective. Of a model that every rank has made whole, with values, where `parallelism` has replicas
    or shards only: rank 0's values count. Its `layers` and what is left of it are the units of shards."""
    layout, compute = layout_of(parallelism, group.world_size), _compute_of(precision)
    model.to(group.device)
    group.broadcast(model.state_dict().values())
    if group.world_size == 1 or not layout.sharded:
        return _replicas(model, group, compute, sync_buffers=True)
    meshes = make_meshes(layout, rank=group.rank, device=group.device)
    sharding_of(parallelism, meshes, compute=compute).apply(model, model.layers())
    return ParallelModel(
        module=model,
        plain=model,
        layout=layout,
        place=meshes.place,
        autocast=None,
        reduce_in_every_pass=parallelism.zero_stage >= 2,
    )


def _compute_of(precision: str) -> torch.dtype | None:
    """None: as the weights are."""
    return None if precision == "fp32" else DTYPES[precision]


def _replicas(
    plain: TrainableModel,
    group: Group,
    compute: torch.dtype | None,
    *,
    sync_buffers: bool,
    mixtures: tuple[int, ...] = (),
) -> ParallelModel:
    """`sync_buffers`: each pass begins with rank 0's."""
    layout = Layout(replicate=group.world_size, sharded=False)
    return ParallelModel(
        module=DistributedDataParallel(plain, forward_sync_buffers=sync_buffers, gradient_as_bucket_view=True)
        if group.torch_distributed
        else plain,
        plain=plain,
        layout=layout,
        place=layout.place(group.rank),
        autocast=compute,
        reduce_in_every_pass=False,
        average=group.gradient_average(plain.parameters()),
        mixture_layers=mixtures,
    )
