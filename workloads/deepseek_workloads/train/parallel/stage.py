"""What one rank of a pipeline holds: its layers in one pruned model, and the stages that run them.

The pruned model keeps the names of the whole one, so that checkpoints, optimizers and first weights need not
know of stages. When a stage runs is `train.parallel.pipeline`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.layer_output import LayerOutput
from deepseek_workloads.model.losses import MTP_LOSS, summed
from deepseek_workloads.plan.pipeline import Stage
from deepseek_workloads.train.parallel.context import ContextShard
from deepseek_workloads.train.parallel.gradients import own_part


class Absent(nn.Module):
    """In the place of what another rank has."""

    mlp: None = None


def prune(model: DeepseekV3ForCausalLM, own: Sequence[Stage]) -> None:
    """In place: what lies in none of the rank's `own` stages goes. The last stage keeps a copy of the
    embedding where it needs one; `EmbeddingCopies` keeps it alike."""
    inner, last = model.model, any(stage.last for stage in own)
    layers = {index for stage in own for index in stage.layers}
    for index in range(len(inner.layers)):
        if index not in layers:
            inner.layers[index] = Absent()
    if not any(stage.first for stage in own) and not (last and copies_embedding(model.architecture)):
        inner.embed_tokens = Absent()  # type: ignore[assignment]
    if not last:
        inner.norm = Absent()  # type: ignore[assignment]
        model.lm_head = Absent()  # type: ignore[assignment]
        for index in range(len(inner.nextn_predict_layers)):
            inner.nextn_predict_layers[index] = Absent()


def copies_embedding(architecture: Architecture) -> bool:
    """Whether the last stage uses the matrix of the first one, too."""
    return architecture.tie_word_embeddings or architecture.num_nextn_predict_layers > 0


@dataclass
class Tally:
    """What the passes of a step have seen on this rank, over its stages; each micro-batch adds its share."""

    loss: Tensor
    auxiliary: dict[str, Tensor] = field(default_factory=dict)
    expert_counts: dict[int, Tensor] = field(default_factory=dict)  # by layer
    dropped: dict[int, Tensor] = field(default_factory=dict)

    def add(self, index: int, output: LayerOutput) -> None:
        for seen, value in ((self.expert_counts, output.expert_counts), (self.dropped, output.dropped)):
            if value is not None:
                seen[index] = seen[index] + value if index in seen else value

    def add_losses(self, losses: Mapping[str, Tensor], *, share: float) -> None:
        parts = {name: value.detach().double() * share for name, value in losses.items()}
        self.auxiliary = summed([self.auxiliary, parts])


class StageModule(nn.Module):
    """The parts of a pruned model that one stage runs."""

    def __init__(self, stage: Stage, *, context: ContextShard | None = None) -> None:
        """`context`: where ranks share the sequences that have labels."""
        super().__init__()
        self.stage, self.context = stage, context
        self.own_layers = list(stage.layers)
        self.tally: Tally | None = None  # of the training step that is going on
        self.share = 1.0  # of a micro-batch in it
        self.scale = 1.0  # of its gradients

    def take(self, model: DeepseekV3ForCausalLM) -> list[nn.Module]:
        """Its parts of a pruned model, the same modules; returns the layers."""
        inner, stage = model.model, self.stage
        self._of = [model]  # in a list: not a part of this module
        self.layers = nn.ModuleDict({str(index): inner.layers[index] for index in stage.layers})
        if stage.first or (stage.last and copies_embedding(model.architecture)):
            self.embed_tokens = inner.embed_tokens
        if not stage.last:
            return [*self.layers.values()]
        self.norm, self.lm_head, self.further = inner.norm, model.lm_head, inner.nextn_predict_layers
        self.own_layers += range(len(inner.layers), len(inner.layers) + len(self.further))
        return [*self.layers.values(), *self.further]

    def forward(
        self,
        hidden: Tensor,
        input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        start: int | Tensor = 0,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor:
        """`hidden` [B, T, H] of the stage before, or int64 [B, T] for the first -> [B, T, H], of the last one
        logits [B, T, V], or with `labels` the loss: in training the whole one, else nats a token."""
        (model,) = self._of
        if self.stage.first:
            hidden = self.embed_tokens(hidden)
        shared = self.context if labels is not None else None
        if shared is not None:
            start = shared.own_positions(hidden.shape[1] * shared.group.size(), hidden.device).unsqueeze(0)
        rotation = model.model.rotation(start, length=hidden.shape[1], like=hidden)
        losses: list[Mapping[str, Tensor]] = []
        for index, layer in zip(self.stage.layers, self.layers.values(), strict=True):
            output: LayerOutput = layer(hidden, rotation, caches[index] if caches is not None else shared)
            hidden = output.hidden
            losses.append(self._counted(index, output))
        if not self.stage.last:
            return self._with_losses(hidden, summed(losses))
        hidden = self.norm(hidden)
        predicted: Tensor = self.lm_head(hidden) if labels is None else self.lm_head(hidden, labels)
        if self.tally is None or labels is None:
            return predicted
        self.tally.loss += predicted.detach().double() * self.share
        if self.further and input_ids is not None:
            losses += self._look_further(input_ids, hidden, labels)
        return self._with_losses(predicted * (self.share * self.scale), summed(losses))

    def _look_further(self, input_ids: Tensor, last: Tensor, labels: Tensor) -> list[Mapping[str, Tensor]]:
        (model,) = self._of
        outputs = model.model.look_further(input_ids, last)
        places = self.own_layers[len(self.stage.layers) :]
        counted = [self._counted(place, output) for place, output in zip(places, outputs, strict=True)]
        return [{MTP_LOSS: model.mtp_loss(outputs, labels)}, *counted]

    def _counted(self, index: int, output: LayerOutput) -> Mapping[str, Tensor]:
        if self.tally is not None:
            self.tally.add(index, output)
        return output.losses or {}

    def _with_losses(self, values: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        if self.tally is None or not losses:
            return values
        self.tally.add_losses(losses, share=self.share)
        total = torch.stack([*losses.values()]).sum()
        joined: Tensor = _WithLoss.apply(values, total, self.share * self.scale)  # type: ignore[no-untyped-call]
        return joined


class _WithLoss(torch.autograd.Function):
    """Passes values on and adds a loss to the one that their gradient will come from: a stage cannot hand its
    own losses to the last one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, loss: Tensor, share: float) -> Tensor:
        ctx.share, ctx.dtype = share, loss.dtype
        return values.clone()  # schedules that split the backward pass detach it, and views cannot be

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        share = torch.full((), ctx.share, dtype=ctx.dtype, device=gradients[0].device)
        return gradients[0], share, None


@dataclass(frozen=True)
class EmbeddingCopies:
    """The first and the last stage hold the same matrix, and each has a part of its gradient."""

    embedding: nn.Module
    group: dist.ProcessGroup  # the pipeline
    peer: int  # the other one's rank in it

    @property
    def weight(self) -> nn.Parameter:
        weight: nn.Parameter = self.embedding.weight  # type: ignore[assignment]
        return weight

    @property
    def counts(self) -> bool:
        """One of the two, where something is counted once."""
        return self.group.rank() < self.peer

    def sum_gradients(self) -> None:
        """After the last pass of a step, on both ranks."""
        gradient = self.weight.grad
        assert gradient is not None
        own = own_part(gradient)
        other = torch.empty_like(own)
        for work in dist.batch_isend_irecv(
            [
                dist.P2POp(dist.isend, own.clone(), group=self.group, group_peer=self.peer),
                dist.P2POp(dist.irecv, other, group=self.group, group_peer=self.peer),
            ]
        ):
            work.wait()
        own += other
