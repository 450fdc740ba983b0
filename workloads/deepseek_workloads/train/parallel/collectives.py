"""Collectives that gradients pass through, each with the one that its backward pass needs.

For values that all ranks of a group hold alike (copies) and values of which each has a part (slices, sums).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as functional


def copied(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    """A copy that each rank uses for its own part of the work; gradients are summed."""
    return _Copied.apply(values, group) if group.size() > 1 else values  # type: ignore[no-untyped-call]


def own_rows(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    """[N, ...], a copy -> this rank's [ceil(N / ranks), ...], with zeros for what lies behind the end.
    Gradients are gathered: every rank gets those of all rows."""
    return _OwnRows.apply(values, group) if group.size() > 1 else values  # type: ignore[no-untyped-call]


def all_rows(values: Tensor, group: dist.ProcessGroup, *, rows: int) -> Tensor:
    """The inverse of `own_rows`: [n, ...] of each rank -> the first `rows` of all, a copy."""
    return _AllRows.apply(values, group)[:rows] if group.size() > 1 else values  # type: ignore[no-untyped-call]


def gathered(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    """[...] of each rank -> [ranks, ...]. Each rank uses all for its own part: gradients are summed."""
    if group.size() == 1:
        return values.unsqueeze(0)
    flat: Tensor = functional.all_gather_tensor_autograd(values.contiguous(), 0, group)
    waited: Tensor = functional.wait_tensor(flat)  # type: ignore[no-untyped-call]
    return waited.view(group.size(), *values.shape)


def exchanged(
    rows: Tensor,
    *,
    to: list[int],
    of: list[int],
    group: dist.ProcessGroup,
    meanwhile: Callable[[], None] = lambda: None,
) -> Tensor:
    """Sends `to[r]` rows to rank r, in their order; receives `of[r]` from it. Gradients travel back. Ranks
    that send or receive nothing take part. What `meanwhile` computes, it computes while the rows travel; its
    backward pass comes while their gradients do, since autograd takes later nodes first."""
    if group.size() == 1:
        meanwhile()
        return rows
    journey = _Journey(to, of, group)
    received = _Depart.apply(rows, journey)  # type: ignore[no-untyped-call]
    meanwhile()
    arrived: Tensor = _Arrive.apply(received, journey)  # type: ignore[no-untyped-call]
    return arrived


class _Journey:
    """Of rows to other ranks, and then of their gradients back."""

    def __init__(self, to: list[int], of: list[int], group: dist.ProcessGroup) -> None:
        self._to, self._of, self._group = to, of, group
        self._on_its_way: tuple[dist.Work, Tensor] | None = None

    def begin(self, rows: Tensor, *, back: bool) -> Tensor:
        """What is received; its values are there after `wait`."""
        to, of = (self._of, self._to) if back else (self._to, self._of)
        received, sent = rows.new_empty(sum(of), *rows.shape[1:]), rows.contiguous()
        work = dist.all_to_all_single(received, sent, of, to, group=self._group, async_op=True)
        self._on_its_way = work, received
        return received

    def wait(self) -> Tensor:
        """What was received."""
        assert self._on_its_way is not None
        (work, received), self._on_its_way = self._on_its_way, None
        work.wait()
        return received


def _gather_rows(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    every = values.new_empty(values.shape[0] * group.size(), *values.shape[1:])
    dist.all_gather_single(every, values.contiguous(), group=group)
    return every


def _slice_rows(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    size = -(-values.shape[0] // group.size())
    own = values[group.rank() * size : (group.rank() + 1) * size]
    if own.shape[0] == size:
        return own.contiguous()
    return torch.cat([own, own.new_zeros(size - own.shape[0], *own.shape[1:])])


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class _OwnRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group, ctx.rows = group, values.shape[0]
        return _slice_rows(values, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _gather_rows(gradients[0], ctx.group)[: ctx.rows], None


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _gather_rows(values, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _slice_rows(gradients[0], ctx.group), None


class _Depart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, journey: _Journey) -> Tensor:
        ctx.journey = journey
        return journey.begin(rows, back=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return ctx.journey.wait(), None


class _Arrive(torch.autograd.Function):
    """`received` goes nowhere else: its gradient travels, and what is returned for it only has its shape."""

    @staticmethod
    def forward(ctx: Any, received: Tensor, journey: _Journey) -> Tensor:
        ctx.journey = journey
        journey.wait()
        return received.view_as(received)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.journey.begin(gradients[0], back=True)
        return gradients[0].new_zeros(()).expand_as(gradients[0]), None
