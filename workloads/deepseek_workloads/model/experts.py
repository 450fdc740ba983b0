"""The routed experts of a layer: tokens sorted by expert, grouped networks, tokens put back.

It knows a choice of experts (`router`), not how it was made.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from deepseek_workloads.contract.architecture import MoE
from deepseek_workloads.model.grouped_network import GroupedLinear, Sorting, grouped_network

Work = Callable[[], None]


def nothing() -> None:
    return


class RoutedExperts(nn.Module):
    """E gated feed-forward networks in two tensors: `gate_up_proj` [E, 2I, H] and `down_proj` [E, H, I]."""

    def __init__(self, moe: MoE, *, hidden: int) -> None:
        super().__init__()
        inner = moe.moe_intermediate_size
        self.limited = moe.expert_capacity_factor is not None
        self.linear: GroupedLinear | None = None  # in place of the products in the dtype of the tokens
        self.gate_up_proj = nn.Parameter(torch.empty(moe.n_routed_experts, 2 * inner, hidden))
        self.down_proj = nn.Parameter(torch.empty(moe.n_routed_experts, hidden, inner))
        nn.init.normal_(self.gate_up_proj, std=hidden**-0.5)
        nn.init.normal_(self.down_proj, std=inner**-0.5)

    def forward(
        self, tokens: Tensor, chosen: Tensor, weights: Tensor, counts: Tensor, meanwhile: Work = nothing
    ) -> Tensor:
        """`tokens` [N, H], `chosen` int64 [N, K] and their `weights` [N, K], tokens an expert `counts` [E]
        -> [N, H]. An expert without tokens takes part with an empty group and gets a zero gradient; what
        `chosen` sends to expert E goes to none. `meanwhile` is called once: where ranks share experts, while
        tokens are on their way to them."""
        dtype = _compute_dtype(tokens)
        sorting = Sorting.of(chosen)
        factors = permuted(weights.to(dtype).flatten(), sorting.order, sorting.back)
        outputs = self._outputs(tokens.to(dtype), factors, counts, sorting, meanwhile)
        mixed: Tensor = _Collect.apply(outputs, *sorting, tokens.shape[0])  # type: ignore[no-untyped-call]
        return mixed.to(tokens.dtype)

    def _outputs(
        self, tokens: Tensor, factors: Tensor, counts: Tensor, sorting: Sorting, meanwhile: Work
    ) -> Tensor:
        """[N, H], [M] -> [M, H] sorted by expert; zeros for the last rows, which `counts` leaves out."""
        if not (self.limited and self.training):
            return self._products(tokens, factors, counts, sorting, meanwhile)
        room = int(counts.sum())
        outputs = self._products(spread(tokens, sorting)[:room], factors[:room], counts, None, meanwhile)
        return F.pad(outputs, (0, 0, 0, factors.numel() - room))

    def _products(
        self, rows: Tensor, factors: Tensor, counts: Tensor, sorting: Sorting | None, meanwhile: Work
    ) -> Tensor:
        """`rows` [M, H] sorted by expert, or tokens [N, H] whose `sorting` is given -> [M, H]."""
        matrices = self._in_dtype(self.gate_up_proj, rows), self._in_dtype(self.down_proj, rows)
        outputs = grouped_network(rows, factors, matrices, counts, sorting=sorting, linear=self.linear)
        meanwhile()
        return outputs

    @staticmethod
    def _in_dtype(matrices: Tensor, rows: Tensor) -> Tensor:
        return _local(matrices).to(rows.dtype)


def spread(tokens: Tensor, sorting: Sorting) -> Tensor:
    """[N, H] -> each token once for each of its choices, sorted by expert."""
    rows: Tensor = _Spread.apply(tokens, *sorting)  # type: ignore[no-untyped-call]
    return rows


def permuted(rows: Tensor, forth: Tensor, back: Tensor) -> Tensor:
    """Rows in the order `forth`; `back` is its inverse. The gradient is gathered, not added."""
    moved: Tensor = _Permute.apply(rows, forth, back)  # type: ignore[no-untyped-call]
    return moved


def _local(weights: Tensor) -> Tensor:
    """This rank's experts, where ranks share them."""
    return weights.to_local() if isinstance(weights, DTensor) else weights


def _compute_dtype(tokens: Tensor) -> torch.dtype:
    """Autocast does not know grouped products."""
    device = tokens.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(order, back)
        ctx.tokens = tokens.shape[0]
        return Sorting(order, back).spread(tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return Sorting(*ctx.saved_tensors).collect(gradients[0], ctx.tokens), None, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, back: Tensor, tokens: int) -> Tensor:
        ctx.save_for_backward(order, back)
        return Sorting(order, back).collect(rows, tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return Sorting(*ctx.saved_tensors).spread(gradients[0]), None, None, None


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return rows.index_select(0, forth)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None
