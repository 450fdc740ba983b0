"""Causal attention by blocks of queries, each against the keys that it may see: dense products only.

For CPUs. Torch's fused kernel there wants one width for queries, keys and values, and is half as fast in
bfloat16 as in float32. Weights of one block are all that is ever held; the backward pass makes them again.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BLOCK = 128  # queries: smaller ones leave products too thin, larger ones compute more of what is masked
_BYTES = 2**20  # of weights at a time: what a core's second-level cache holds


def attend_in_chunks(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, *, window: int | None = None
) -> Tensor:
    """[N, T, D], [N, T, D], [N, T, V] -> [N, T, V]; N is sequences times heads. `window`: a query sees as
    many of the newest tokens, its own included; None: all. In bfloat16 scores and weights are rounded to it,
    as in Hugging Face's unfused attention."""
    attended: Tensor = _ChunkedAttention.apply(queries, keys, values, scale, window)  # type: ignore[no-untyped-call]
    return attended


class _ChunkedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
    ) -> Tensor:
        ctx.save_for_backward(queries, keys, values)
        ctx.scale, ctx.window = scale, window
        attended, mask = torch.empty_like(values), _mask(queries)
        for heads, rows, seen in _blocks(queries, window):
            left = _left(rows, seen, window)
            weights = _weights(queries[heads, rows], keys[heads, seen], scale, mask, left=left)
            torch.bmm(weights, values[heads, seen], out=attended[heads, rows])
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        queries, keys, values = ctx.saved_tensors
        scale, gradient = ctx.scale, gradients[0].contiguous()
        of_queries, of_keys, of_values = (torch.zeros_like(part) for part in (queries, keys, values))
        mask = _mask(queries)
        for heads, rows, seen in _blocks(queries, ctx.window):
            left = _left(rows, seen, ctx.window)
            weights = _weights(queries[heads, rows], keys[heads, seen], scale, mask, left=left)
            part = gradient[heads, rows]
            of_values[heads, seen].baddbmm_(weights.transpose(1, 2), part)
            of_weights = torch.bmm(part, values[heads, seen].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            torch.bmm(of_scores, keys[heads, seen], out=of_queries[heads, rows])
            of_keys[heads, seen].baddbmm_(of_scores.transpose(1, 2), queries[heads, rows], alpha=scale)
        return of_queries.mul_(scale), of_keys, of_values, None, None


def _blocks(queries: Tensor, window: int | None) -> Iterator[tuple[slice, slice, slice]]:
    """Heads, rows, and the columns that any of those rows sees."""
    heads, length = queries.shape[:2]
    rows = min(_BLOCK, length)
    widest = length if window is None else min(length, window + rows)
    at_a_time = max(1, _BYTES // (rows * widest * queries.element_size()))
    for head in range(0, heads, at_a_time):
        for row in range(0, length, _BLOCK):
            end = min(row + _BLOCK, length)
            first = 0 if window is None else max(0, row - window + 1)
            yield slice(head, head + at_a_time), slice(row, end), slice(first, end)


def _left(rows: slice, seen: slice, window: int | None) -> int:
    """How many of the first columns seen the last of `rows` no longer sees; each row before it, one less."""
    return 0 if window is None else max(0, rows.stop - window - seen.start)


def _mask(queries: Tensor) -> Tensor:
    """[t, t] of a block: minus infinity where a query must not see a key."""
    rows = min(_BLOCK, queries.shape[1])
    return queries.new_full((rows, rows), float("-inf")).triu(1)


def _weights(queries: Tensor, keys: Tensor, scale: float, mask: Tensor, *, left: int) -> Tensor:
    """[n, t, D] and [n, s, D], the queries at the last t positions -> softmax over what each may see. `left`:
    as `_left` has it."""
    rows, seen = queries.shape[1], keys.shape[1]
    scores = queries.new_empty(queries.shape[0], rows, seen)
    torch.baddbmm(scores, queries, keys.transpose(1, 2), beta=0, alpha=scale, out=scores)
    scores[..., seen - rows :] += mask[:rows, :rows]
    if left:
        scores[:, rows - left :, :left] += mask[:left, 1 : left + 1].t()
    return torch.softmax(scores, -1)
