"""Gated feed-forward networks for rows that are sorted by network: two grouped products and the gate.

On a GPU one kernel makes a grouped product; on a CPU, where sizes are at hand, it is a loop of products.
The backward pass keeps what the first product made; the gate is made again. It knows rows and groups, not why
a row is in one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_GROUPED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ROW_ALIGNMENT = 16  # bytes: what `F.grouped_mm` asks of every row
# A CPU's products in low precision are generated for each shape and then kept (oneDNN): any numbers of rows
# would have code generated in every step. So they are rounded to multiples of this.
_ROWS = 32

# From `rows` [M, in] sorted by group, `matrices` [E, in, out] and counts [E] to [M, out].
GroupedLinear = Callable[[Tensor, Tensor, Tensor], Tensor]


class Sorting(NamedTuple):
    """Of the choices of N tokens by group: int64 [N * choices] each."""

    order: Tensor  # of each sorted row, which choice it is; its token is this // choices
    back: Tensor  # the inverse: of each choice, where it lies

    @classmethod
    def of(cls, chosen: Tensor) -> "Sorting":
        """`chosen` int64 [N, choices]: the group of each."""
        order = chosen.flatten().argsort(stable=True)
        places = torch.arange(order.numel(), device=order.device)
        return cls(order, torch.empty_like(order).scatter_(0, order, places))

    def spread(self, tokens: Tensor) -> Tensor:
        """[N, H] -> [N * choices, H], sorted."""
        return tokens.index_select(0, self.order // (self.order.numel() // tokens.shape[0]))

    def collect(self, rows: Tensor, tokens: int) -> Tensor:
        """[N * choices, H], sorted -> [N, H]: the sum of each token's. Gathered, so that it never depends on
        the order of additions (an index_add on a GPU does)."""
        return rows.index_select(0, self.back).view(tokens, -1, rows.shape[-1]).sum(1)


def grouped_network(
    rows: Tensor,
    factors: Tensor,
    matrices: tuple[Tensor, Tensor],
    counts: Tensor,
    *,
    sorting: Sorting | None = None,
    linear: GroupedLinear | None = None,
) -> Tensor:
    """`rows` [M, H] of which the first counts[0] pass network 0 and so on, `factors` [M] of what they become,
    `matrices` gate_up [E, 2I, H] and down [E, H, I], `counts` int64 [E] with the sum M -> [M, H]. One dtype.

    `sorting`: `rows` are tokens [N, H] that are still to be spread. `linear`: what makes the products of
    activations and of their gradients in place of `grouped_linear`; those of weights stay as they are."""
    order = sorting or (None, None)
    outputs: Tensor = _GroupedNetwork.apply(
        rows, factors, *matrices, counts, *order, linear or grouped_linear
    )  # type: ignore[no-untyped-call]
    return outputs


class _GroupedNetwork(torch.autograd.Function):
    """Factors come before the second product: their gradient is then at hand without its result. Spread rows
    are as large as results; they are spread again."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        factors: Tensor,
        gate_up: Tensor,
        down: Tensor,
        counts: Tensor,
        order: Tensor | None,
        back: Tensor | None,
        linear: GroupedLinear,
    ) -> Tensor:
        ctx.linear = linear
        inner = linear(_spread(rows, order, back), gate_up.transpose(1, 2), counts)
        gate, up = inner.chunk(2, dim=-1)
        ctx.save_for_backward(rows, factors, gate_up, down, counts, order, back, inner)
        activated = F.silu(gate).mul_(up).mul_(factors.unsqueeze(1))
        return linear(activated, down.transpose(1, 2), counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, factors, gate_up, down, counts, order, back, inner = ctx.saved_tensors
        gradient, factor = gradients[0].contiguous(), factors.unsqueeze(1)
        gate, up = inner.chunk(2, dim=-1)
        opened = F.silu(gate)
        activated = opened * up
        of_product = ctx.linear(gradient, down, counts)
        of_factors = (of_product * activated).sum(-1)
        of_down = grouped_outer(gradient, activated.mul_(factor), counts)
        of_product.mul_(factor)
        of_inner = _of_gate_and_up(of_product, opened, gate, up)
        of_gate_up = grouped_outer(of_inner, _spread(rows, order, back), counts)
        of_rows = ctx.linear(of_inner, gate_up, counts)
        if order is not None:
            of_rows = Sorting(order, back).collect(of_rows, rows.shape[0])
        return of_rows, of_factors, of_gate_up, of_down, None, None, None, None


def _spread(rows: Tensor, order: Tensor | None, back: Tensor | None) -> Tensor:
    return rows if order is None or back is None else Sorting(order, back).spread(rows)


def _of_gate_and_up(of_product: Tensor, opened: Tensor, gate: Tensor, up: Tensor) -> Tensor:
    """The gradients of both, side by side, of silu(gate) * up. `opened`: silu(gate). `of_product`: lost."""
    if torch.compiler.is_compiling():  # parts of a tensor as outputs cannot be traced, and one kernel joins
        of_gate = torch.ops.aten.silu_backward(of_product * up, gate)
        return torch.cat([of_gate, of_product * opened], dim=-1)
    both = of_product.new_empty(*of_product.shape[:-1], 2 * of_product.shape[-1])
    of_gate, of_up = both.chunk(2, dim=-1)
    torch.mul(of_product, opened, out=of_up)
    torch.ops.aten.silu_backward.grad_input(of_product.mul_(up), gate, grad_input=of_gate)
    return both


def grouped_linear(rows: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    """`rows` [M, in] sorted by group, `matrices` [E, in, out] -> [M, out]."""
    if _has_grouped_kernel(rows, matrices):
        return F.grouped_mm(rows, matrices, offs=counts.cumsum(0, dtype=torch.int32))
    products = rows.new_empty(rows.shape[0], matrices.shape[2])
    start, multiple = 0, _multiple(rows)
    for size, matrix in zip(counts.tolist(), matrices.unbind(), strict=True):
        end = min(start + size + -size % multiple, rows.shape[0])  # the next group's rows are written again
        torch.mm(rows[start:end], matrix, out=products[start:end])
        start += size
    return products


def grouped_outer(left: Tensor, right: Tensor, counts: Tensor) -> Tensor:
    """`left` [M, a] and `right` [M, b] sorted by group -> [E, a, b], zeros where a group has no rows."""
    if _has_grouped_kernel(left, right):
        return F.grouped_mm(left.t(), right, offs=counts.cumsum(0, dtype=torch.int32))
    products = left.new_empty(counts.numel(), left.shape[1], right.shape[1])
    start, multiple = 0, _multiple(left)
    for size, product in zip(counts.tolist(), products.unbind(), strict=True):
        middle, end = start + size - size % multiple, start + size
        torch.mm(left[start:middle].t(), right[start:middle], out=product)
        if middle < end:
            product.addmm_(left[middle:end].t(), right[middle:end])
        start = end
    return products


def _multiple(rows: Tensor) -> int:
    return _ROWS if rows.dtype in (torch.bfloat16, torch.float16) else 1


def _has_grouped_kernel(*operands: Tensor) -> bool:
    return all(
        operand.device.type != "cpu"
        and operand.dtype in _GROUPED_DTYPES
        and max(operand.stride()[-2:]) * operand.element_size() % _ROW_ALIGNMENT == 0
        for operand in operands
    )
