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
from deepseek_workloads.model.grouped_network import GroupedLinear, grouped_network

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
        order = chosen.flatten().argsort(stable=True)
        back = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))
        grouped: Tensor = _Dispatch.apply(tokens.to(dtype), order, back, chosen.shape[1])  # type: ignore[no-untyped-call]
        returned = permuted(self._outputs(grouped, counts, meanwhile), back, order)
        returned = returned.view(*chosen.shape, -1)
        return torch.bmm(weights.to(dtype).unsqueeze(1), returned).squeeze(1).to(tokens.dtype)

    def _outputs(self, grouped: Tensor, counts: Tensor, meanwhile: Work) -> Tensor:
        """[M, H] sorted by expert -> [M, H]; zeros for the last rows, which `counts` leaves out."""
        rows = grouped.shape[0]
        limited = self.limited and self.training
        if limited:
            grouped = grouped[: int(counts.sum())]
        outputs = self._products(grouped, counts, meanwhile)
        return F.pad(outputs, (0, 0, 0, rows - outputs.shape[0])) if limited else outputs

    def _products(self, grouped: Tensor, counts: Tensor, meanwhile: Work) -> Tensor:
        """[M, H] sorted by expert -> [M, H]."""
        gate_up, down = (_local(part).to(grouped.dtype) for part in (self.gate_up_proj, self.down_proj))
        outputs = grouped_network(grouped, gate_up, down, counts, self.linear)
        meanwhile()
        return outputs


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


class _Dispatch(torch.autograd.Function):
    """Each token K times, sorted by expert. The gradient is gathered, so that it never depends on the order
    of additions (an index_add on a GPU does)."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, order: Tensor, back: Tensor, choices: int) -> Tensor:
        ctx.save_for_backward(back)
        ctx.choices = choices
        return tokens.index_select(0, order // choices)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (back,) = ctx.saved_tensors
        per_choice = gradients[0].index_select(0, back)
        return per_choice.view(-1, ctx.choices, per_choice.shape[-1]).sum(1), None, None, None


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return rows.index_select(0, forth)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None
