"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796): what older data needs is held.

    penalty = strength / 2 * sum(F * (w - w0)^2)

w0 are the weights that the run starts from, F the mean squared gradient of single samples of the older source
at w0. Both are made again at each start of the group, from the same weights and samples: nothing is stored.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.stream import Batch, BatchStream
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.loss_scale import LossScale
from deepseek_workloads.train.parallel.gradients import own_part, parts_of
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.refused import SettingRefused


class Anchor:
    """Twice the memory of the weights, laid out as they are."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, strength: float) -> None:
        """At the weights as they are now; `add` gives them their importance."""
        self._parameters, self._strength = list(parameters), strength
        self._start = [p.detach().clone() for p in self._parameters]
        self._importance = [torch.zeros_like(p) for p in self._parameters]

    @torch.no_grad()
    def add(self, *, share: float) -> None:
        """The gradients of one sample, squared, as `share` of the mean."""
        for parameter, importance in zip(self._parameters, self._importance, strict=True):
            if parameter.grad is not None:
                importance.addcmul_(parameter.grad, parameter.grad, value=share)

    @torch.no_grad()
    def pull(self) -> Tensor:
        """Adds the penalty's gradient to what the passes have left. Returns float64: its mean over the
        ranks is the penalty."""
        penalty = torch.zeros((), dtype=torch.float64, device=self._parameters[0].device)
        for parameter, start, importance in zip(self._parameters, self._start, self._importance, strict=True):
            if parameter.grad is not None:
                moved = parameter - start
                parameter.grad.addcmul_(importance, moved, value=self._strength)
                needed = moved.square().mul_(importance)
                penalty += own_part(needed).sum() * parts_of(needed)
        return penalty * (self._strength / 2)


def make_anchor(
    model: ParallelModel,
    group: Group,
    *,
    plan: SamplePlan,
    stores: Sequence[ObjectStore],
    samples: int,
    strength: float,
    loss_scale: LossScale | None = None,
) -> Anchor:
    """A collective; `plan` is of the older source alone. Every rank sees the same single samples, so that no
    layout changes the importance, which is of the text alone: nothing is dropped, no balance is learnt.
    Leaves no gradients. Raises SettingRefused where float16 does not hold them, and the StoreErrors of
    reading."""
    parameters = [p for p in model.plain.parameters() if p.requires_grad]
    anchor = Anchor(parameters, strength=strength)
    model.module.eval()
    with BatchStream(
        plan, stores, rank=0, world_size=1, global_batch_size=1, micro_batch_size=1, end_sample=samples
    ) as stream:
        for batch in stream:
            while not _has_gradients(model, group, batch, loss_scale):
                _clear(parameters)
            anchor.add(share=1 / samples)
            _clear(parameters)
    return anchor


def _has_gradients(model: ParallelModel, group: Group, batch: Batch, loss_scale: LossScale | None) -> bool:
    """Leaves those of one sample. False: they have overflowed, and the next time they are scaled less."""
    scale = 1.0 if loss_scale is None else loss_scale.value
    ids, labels = (part.to(group.device) for part in (batch.input_ids, batch.rows.labels))
    with (
        model.one_pass(last=True),
        model.plain.documents.within(batch.rows.documents_of_inputs, device=group.device),
    ):
        with model.compute(group.device):
            loss: Tensor = model.losses(ids[:, :-1], labels).loss
        (loss * scale).backward()  # type: ignore[no-untyped-call]
    if loss_scale is None:
        return True
    model.scale_gradients(1 / scale)
    overflow = not math.isfinite(model.gradient_norm(group).item())
    loss_scale.update(overflow=overflow)
    if loss_scale.exhausted:
        raise SettingRefused(
            "spec.training.consolidation: the gradients of a sample of the older source are too large for "
            "precision fp16: use bf16 or fp32"
        )
    return not overflow


def _clear(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
