"""The language-model head with a slice of the vocabulary on each rank; logits are never gathered for a loss.

It knows one matrix, as `model.head` does, whose results it gives.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from deepseek_workloads.model.head import IGNORED, LanguageModelHead
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS
from deepseek_workloads.train.parallel.collectives import copied, gathered


class VocabularyParallelHead(LanguageModelHead):
    """`weight` [V, H] as a DTensor whose slices are of dimension 0."""

    def share(self, mesh: DeviceMesh) -> None:
        self._group = mesh.get_group()
        if not isinstance(self.weight, DTensor):  # a tied one is sliced with the embedding
            sliced = distribute_tensor(self.weight.data, mesh, [Shard(0)], src_data_rank=None)
            self.weight = nn.Parameter(sliced, requires_grad=self.weight.requires_grad)

    def forward(self, hidden: Tensor, labels: Tensor | None = None) -> Tensor:
        """`hidden` and what comes back are copies that all ranks hold."""
        weight = self.weight
        assert isinstance(weight, DTensor)
        if labels is None:
            logits = copied(hidden, self._group) @ weight.to_local().t()
            return gathered(logits, self._group).movedim(0, -2).flatten(-2)
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        loss: Tensor = _SlicedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden.reshape(-1, hidden.shape[-1]).to(dtype),
            weight.to_local().to(dtype),
            labels.reshape(-1),
            self._group,
        )
        return loss


class _SlicedCrossEntropy(torch.autograd.Function):
    """Of a row's logits each rank has a slice: three small sums a row make the whole softmax."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, group: dist.ProcessGroup) -> Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        of_hidden = torch.empty_like(hidden)
        of_weight = torch.zeros_like(weight, dtype=exact)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        counted = labels != IGNORED
        share = counted.to(exact).div_(counted.sum().clamp(min=1)).unsqueeze(1)
        labels = labels.where(counted, 0) - group.rank() * weight.shape[0]
        rows = max(1, LOSS_CHUNK_ELEMENTS[hidden.device.type == "cuda"] // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            part, weights = hidden[start : start + rows], share[start : start + rows]
            loss, gradient = _rows_of_slice(
                (part @ weight.t()).to(exact), labels[start : start + rows, None], weights, group
            )
            total += loss
            gradient = gradient.to(hidden.dtype)
            torch.mm(gradient, weight, out=of_hidden[start : start + rows])
            of_weight += gradient.t() @ part
        if ctx.needs_input_grad[0]:
            dist.all_reduce(of_hidden, group=group)
        ctx.save_for_backward(of_hidden, of_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_hidden, of_weight = ctx.saved_tensors
        scale = gradients[0]
        return of_hidden * scale.to(of_hidden.dtype), of_weight * scale.to(of_weight.dtype), None, None


def _rows_of_slice(
    logits: Tensor, expected: Tensor, weights: Tensor, group: dist.ProcessGroup
) -> tuple[Tensor, Tensor]:
    """`logits` [n, V / ranks], `expected` int64 [n, 1] counted from the slice's start (outside: of another
    rank), `weights` [n, 1] -> the weighted loss of all rows, and its gradient by these logits."""
    largest = logits.amax(-1, keepdim=True)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=group)
    here = (expected >= 0) & (expected < logits.shape[-1])
    place = expected.where(here, 0)
    of_expected = logits.gather(1, place).sub_(largest).masked_fill_(~here, 0)
    exponentials = logits.sub_(largest).exp_()
    sums = torch.cat([exponentials.sum(-1, keepdim=True), of_expected], dim=-1)
    dist.all_reduce(sums, group=group)
    normaliser, of_expected = sums[:, :1], sums[:, 1:]
    loss = ((normaliser.log() - of_expected) * weights).sum()
    gradient = exponentials.mul_(weights / normaliser)
    return loss, gradient.scatter_add_(1, place, -(weights * here))
