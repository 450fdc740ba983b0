"""One optimizer step over a global batch: passes, reduction, clipping, update, router bias.

It knows the model and its group, not where batches come from, nor what happens between steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepseek_workloads.data.stream import Batch
from deepseek_workloads.model.losses import CONSOLIDATION_LOSS, summed
from deepseek_workloads.train.anchor import Anchor
from deepseek_workloads.train.curriculum import cut, row_numbers
from deepseek_workloads.train.distil import Distillation
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.images import images_of
from deepseek_workloads.train.loss_scale import LossScale
from deepseek_workloads.train.optimizers.build import set_learning_rate
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.prune import ChannelPruning
from deepseek_workloads.train.watch.activations import ActivationRange
from deepseek_workloads.train.watch.expert_load import busiest
from deepseek_workloads.train.watch.idle_experts import IdleExperts


@dataclass(frozen=True)
class StepResult:
    """The same on every rank. `loss` in nats a token, the mean over the global batch."""

    loss: float
    auxiliary: Mapping[str, float]  # parts of what is minimised beside it, by the names of `model.losses`
    gradient_norm: float  # before clipping
    votes: tuple[int, ...]  # how many ranks raised each flag
    sample_ids: tuple[int, ...]  # of the global batch, by rank and micro-batch
    expert_load: float  # the largest share of tokens of an expert, over the mean share; 1 is even
    dropped: int  # choices that no expert had room for, over the layers of mixtures
    busiest: tuple[int, int] | None = None  # the layer and the expert of `expert_load`; None: no mixture
    idle_share: float | None = None  # of a layer's experts (`watch.idle_experts`); None: not known yet
    idle_layer: int | None = None  # of `idle_share`
    overflow: bool = False  # of float16 gradients: nothing was updated, the next step scales less
    leading: tuple[float, ...] = ()  # rank 0's numbers
    activation_range: float | None = None  # the largest absolute value that left a layer; None: not looked
    activation_ranges: tuple[float, ...] = ()  # by layer
    applied: bool = False  # the weights were changed by it


class Trainer:
    def __init__(
        self,
        model: ParallelModel,
        optimizer: torch.optim.Optimizer,
        group: Group,
        *,
        samples_per_step: int,
        clip_norm: float,
        seed: int,
        loss_scale: LossScale | None = None,
        distillation: Distillation | None = None,
        pruning: ChannelPruning | None = None,
        anchor: Anchor | None = None,
        idle_experts: IdleExperts | None = None,
    ) -> None:
        """`samples_per_step`: that this rank reads. All ranks have the same number, so the mean over ranks
        that gradients are reduced to is the mean over the global batch."""
        self._model, self._optimizer, self._group = model, optimizer, group
        self._samples_per_step, self._clip_norm, self._seed = samples_per_step, clip_norm, seed
        self._loss_scale, self._distillation, self._pruning = loss_scale, distillation, pruning
        self._anchor, self._idle_experts = anchor, idle_experts
        self._activations = ActivationRange(model.plain.layers())

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        *,
        learning_rate: float,
        flags: Sequence[bool] = (),
        leading: Sequence[float] = (),
        accept: Callable[[StepResult], bool],
        watch_activations: bool = False,
        sequence_length: int | None = None,
    ) -> StepResult:
        """`batches`: this rank's micro-batches of one global batch. `flags` are summed over the ranks, and
        all ranks get rank 0's numbers `leading`, so that all decide alike at the same step. Nothing is
        updated when `accept` says no, which sees the same result on every rank, or when gradients overflow.
        `watch_activations` is the same on every rank. `sequence_length`: rows are cut to it; None: whole."""
        # Nothing draws random numbers between steps, so that a resumed step draws the same ones.
        torch.manual_seed(_mix(self._seed, step, self._model.layout.data_rank(self._group.rank)))
        self._model.plain.dropout_stream.begin_step(seed=self._seed, step=step)
        self._optimizer.zero_grad(set_to_none=True)
        self._model.module.train()
        with self._activations.looking(watch_activations):
            totals = self._passes(batches, self._shares(batches), sequence_length)
            ranges = self._ranges() if watch_activations else ()
        totals.auxiliary.update(self._finish_gradients())
        norm = self._model.gradient_norm(self._group)
        result = self._agree(totals, norm, batches, flags, leading)
        if ranges:
            result = replace(result, activation_range=max(ranges), activation_ranges=ranges)
        if self._loss_scale is not None:
            result = self._rescale(result, self._loss_scale)
        if not result.overflow and accept(result):
            result = replace(result, applied=True)
            set_learning_rate(self._optimizer, learning_rate)
            self._model.clip_gradients(norm, clip_norm=self._clip_norm)
            self._optimizer.step()
            self._model.update_router_bias(totals.expert_counts)
        if self._pruning is not None:  # its step comes once, also where the update is not taken
            self._pruning.after_step(step)
        return result

    def rehearse(self, batch: Batch) -> None:
        """A collective: forward and backward of one micro-batch, of which nothing stays but memory that steps
        need as well."""
        self._model.plain.dropout_stream.begin_step(seed=self._seed, step=0)
        self._model.module.train()
        self._passes([batch], [1.0], None)
        self._optimizer.zero_grad(set_to_none=True)

    def _ranges(self) -> tuple[float, ...]:
        """By layer, the largest of all ranks."""
        values = self._activations.values(self._group.device)
        if values is None:
            return ()
        gathered = self._group.gather(values).view(self._group.world_size, -1)
        return tuple(gathered.amax(0).tolist())

    def _rescale(self, result: StepResult, loss_scale: LossScale) -> StepResult:
        """After an overflow with nothing left to scale by, the result is not finite."""
        overflow = math.isfinite(result.loss) and not math.isfinite(result.gradient_norm)
        loss_scale.update(overflow=overflow)
        return replace(result, overflow=overflow and not loss_scale.exhausted)

    def _shares(self, batches: Sequence[Batch]) -> list[float]:
        """Of each pass in this rank's loss, so that the mean over ranks is the mean over the predicted tokens
        of the global batch: rows of running text have equally many, packed conversations have not."""
        if all(batch.rows.documents is None for batch in batches):
            return [len(batch.sample_ids) / self._samples_per_step for batch in batches]
        counts, layout = [batch.rows.predicted for batch in batches], self._model.layout
        own = float(sum(counts)) if layout.leads_data(self._group.rank) else 0.0  # ranks may read the same
        total = torch.tensor([own], dtype=torch.float64, device=self._group.device)
        mean = float(self._group.sum(total)) / layout.data
        return [count / max(mean, 1.0) for count in counts]

    def _passes(
        self, batches: Sequence[Batch], shares: Sequence[float], sequence_length: int | None
    ) -> "_Totals":
        device = self._group.device
        scale = self._loss_scale.value if self._loss_scale is not None else 1.0
        if self._model.pipeline is not None:
            ids = torch.cat([_to_device(batch.input_ids, device) for batch in batches])
            of_step = self._model.pipelined(ids[:, :-1], ids[:, 1:], passes=len(batches), scale=scale)
            return _Totals(of_step.lm_loss, of_step.auxiliary, of_step.expert_counts, of_step.dropped.sum())
        loss = torch.zeros((), dtype=torch.float64, device=device)
        auxiliary: list[dict[str, Tensor]] = []
        counts: Tensor | None = None
        dropped = torch.zeros((), dtype=torch.int64, device=device)
        for number, (batch, share) in enumerate(zip(batches, shares, strict=True), start=1):
            pair = (batch.input_ids, batch.rows.labels)
            ids, labels = (_to_device(part, device) for part in pair)
            inputs, labels = cut(ids, labels, sequence_length or labels.shape[1])
            last, documents = number == len(batches), batch.rows.documents_of_inputs
            documents = None if documents is None else documents.reshape(inputs.shape)
            rows = row_numbers(batch.sample_ids, rows=len(inputs))
            self._model.plain.dropout_stream.begin_pass(rows.to(device))
            with (
                self._model.one_pass(last=last),
                self._model.plain.documents.within(documents, device=device),
                self._model.plain.images.within(images_of(batch.rows, device)),
                self._taught(inputs, documents, batch),
            ):
                with self._model.compute(device):
                    parts = self._model.losses(inputs, labels)
                (parts.loss * (share * scale)).backward()  # type: ignore[no-untyped-call]
            if self._distillation is not None:
                parts = self._distillation.told(parts)
            loss += parts.lm_loss.double() * share
            auxiliary.append({name: part.double() * share for name, part in parts.auxiliary.items()})
            dropped += parts.dropped.sum()
            counts = parts.expert_counts if counts is None else counts + parts.expert_counts
        assert counts is not None
        return _Totals(loss, summed(auxiliary), counts, dropped)

    def _taught(self, inputs: Tensor, documents: Tensor | None, batch: Batch) -> AbstractContextManager[None]:
        if self._distillation is None:
            return nullcontext()
        return self._distillation.over(inputs, documents, batch.top_k)

    def _finish_gradients(self) -> dict[str, Tensor]:
        """What the passes have left, scaled back; and what is no part of their loss, which is returned by
        name."""
        if self._loss_scale is not None:
            self._model.scale_gradients(1 / self._loss_scale.value)
        if self._anchor is not None:
            return {CONSOLIDATION_LOSS: self._anchor.pull()}
        return {}

    def _agree(
        self,
        totals: "_Totals",
        norm: Tensor,
        batches: Sequence[Batch],
        flags: Sequence[bool],
        leading: Sequence[float],
    ) -> StepResult:
        """One sum over the ranks for all that they must know of each other, and one copy to the host."""
        device, counts, layout = self._group.device, totals.expert_counts, self._model.layout
        own = [*map(float, flags), *(leading if self._group.rank == 0 else [0.0] * len(leading))]
        raised = torch.tensor(own, dtype=torch.float64, device=device)
        names = sorted(totals.auxiliary)  # the same on every rank
        means = torch.stack([totals.loss, *(totals.auxiliary[name] for name in names)]) / layout.stage
        first = self._model.place.tensor == 0  # ranks of a tensor group have the same tokens
        local = torch.cat(
            [
                means,
                norm.double().reshape(1) / self._group.world_size,
                raised,
                totals.dropped.double().reshape(1) * first,
            ]
        )
        counted = counts.flatten().double() * first  # exact below 2**53
        over_ranks = self._group.sum(torch.cat([local, counted]))
        ids = torch.tensor([number for batch in batches for number in batch.sample_ids], device=device)
        of_rank = self._group.gather(ids).view(self._group.world_size, -1)
        ids = of_rank[[rank for rank in range(self._group.world_size) if layout.leads_data(rank)]].flatten()
        totals.expert_counts.copy_(over_ranks[local.numel() :].view_as(counts))
        experts = torch.cat([busiest(totals.expert_counts), self._idle(totals.expert_counts)])
        told = torch.cat([over_ranks[: local.numel()], experts]).tolist()
        *figures, dropped, load, row, expert, idle, idle_row = told
        layers = self._model.mixture_layers
        loss, *rest = figures
        parts, (gradient_norm, *of_ranks) = rest[: len(names)], rest[len(names) :]
        return StepResult(
            loss=loss,
            auxiliary=dict(zip(names, parts, strict=True)),
            gradient_norm=gradient_norm,
            votes=tuple(round(raised_by) for raised_by in of_ranks[: len(flags)]),
            leading=tuple(of_ranks[len(flags) :]),
            sample_ids=tuple(ids.tolist()),
            expert_load=load,
            dropped=round(dropped),
            busiest=(layers[round(row)], round(expert)) if row >= 0 else None,
            idle_share=idle if idle >= 0 else None,
            idle_layer=layers[round(idle_row)] if idle >= 0 else None,
        )

    def _idle(self, counts: Tensor) -> Tensor:
        """float64 [2]; below 0 where there is nothing to say."""
        if self._idle_experts is None:
            return torch.full((2,), -1.0, dtype=torch.float64, device=counts.device)
        return self._idle_experts.after_step(counts)


@dataclass(frozen=True)
class _Totals:
    loss: Tensor  # float64, of this rank
    auxiliary: dict[str, Tensor]  # float64, by name
    expert_counts: Tensor  # int64 [mixture layers, E]; after `_agree` over all ranks
    dropped: Tensor  # int64 scalar


def _to_device(ids: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return ids
    return ids.pin_memory().to(device, non_blocking=True)


def _mix(seed: int, step: int, rank: int) -> int:
    """A stream of its own for each (seed, step, rank), within what manual_seed takes."""
    return (seed * 1_000_003 + step * 8_191 + rank) & (2**63 - 1)
