"""Attention of each query to the keys of its own bucket, in several rounds of buckets, by dense products.

In the order of buckets the keys that a query sees stand side by side: a block of queries meets one span of
keys. Rounds share one softmax. Weights of one block are all that is ever held; the backward pass makes them
again. It does not know where buckets come from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 128  # queries: smaller ones leave products too thin, larger ones meet more of what others see
# Weights at a time, of as many heads as that makes, by whether there is a GPU: a CPU's caches want few, a
# GPU few calls.
_ELEMENTS = {False: 2**19, True: 2**26}


@dataclass(frozen=True)
class Round:
    """One round of hashing over N heads; ranks are places in the order of buckets, then of positions."""

    queries: Tensor  # int32 [N, T], the index of the query at each rank
    keys: Tensor  # int32 [N, S], likewise
    first: Tensor  # int32 [N, T], by rank: the rank of the first key that the query sees
    last: Tensor  # int32 [N, T]: of the last; less than `first` where there is none


def attend_in_buckets(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    of_queries: Tensor,
    of_keys: Tensor,
    budget: int,
    scale: float,
) -> Tensor:
    """`queries` [B, T, A, D] of the last T of S positions, the others [B, S, A, D], their buckets int64
    [rounds, B, A, T] and [rounds, B, A, S] -> [B, T, A, D].

    In each round a query sees itself, and of the newest `budget` keys of its bucket up to its position those
    that are not itself. What several rounds see counts as often. Waits for the device."""
    rounds = [
        in_order(query.flatten(0, 1), key.flatten(0, 1), budget)
        for query, key in zip(of_queries, of_keys, strict=True)
    ]
    orders = [tensor for each in rounds for tensor in (each.queries, each.keys, each.first, each.last)]
    attended: Tensor = _BucketedAttention.apply(queries, keys, values, scale, *orders)  # type: ignore[no-untyped-call]
    return attended


@torch.no_grad()
def in_order(of_queries: Tensor, of_keys: Tensor, budget: int) -> Round:
    """Buckets int64 [N, T] of the last T positions and [N, S]."""
    new, length = of_queries.shape[1], of_keys.shape[1]
    sorted_queries, query_order = of_queries.sort(dim=-1, stable=True)
    sorted_keys, key_order = of_keys.sort(dim=-1, stable=True)
    own = query_order + length - new
    places = sorted_keys * length + key_order
    newest = torch.searchsorted(places, sorted_queries * length + own, right=True) - 1
    first = torch.searchsorted(places, sorted_queries * length)
    first = torch.maximum(first, newest - budget + 1)
    last = (
        newest - (of_keys.gather(-1, own) == sorted_queries).long()
    )  # the own key is the newest, if it is there
    return Round(query_order.int(), key_order.int(), first.int(), last.int())


class _BucketedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, scale: float, *orders: Tensor
    ) -> Tensor:
        query, key, value = (_by_head(part) for part in (queries, keys, values))
        rounds, exact = _rounds(orders), torch.promote_types(query.dtype, torch.float32)
        own_key, own_value = (part[:, -query.shape[1] :] for part in (key, value))
        # Each round sees the query's own position: its part of the softmax is there from the beginning.
        most = (query * own_key).sum(-1, dtype=exact) * scale
        total = torch.full_like(most, len(rounds))
        mixed = own_value.to(exact) * len(rounds)
        for each in rounds:
            found = _found(each, query, key, value, scale=scale)
            above = torch.maximum(most, found[0])
            before, now = (most - above).exp_(), (found[0] - above).exp_()
            total.mul_(before).add_(found[1].mul_(now))
            mixed.mul_(before.unsqueeze(-1)).add_(found[2].mul_(now.unsqueeze(-1)))
            most = above
        attended = _by_token(mixed.div_(total.unsqueeze(-1)), like=queries)
        ctx.save_for_backward(query, key, value, attended, most + total.log(), *orders)
        ctx.scale = scale
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, attended, normaliser, *orders = ctx.saved_tensors
        scale, rounds, exact = ctx.scale, _rounds(orders), normaliser.dtype
        upstream = _by_head(gradients[0])
        shared = (upstream.to(exact) * _by_head(attended)).sum(-1)
        new = query.shape[1]
        own_key, own_value = (part[:, -new:] for part in (key, value))
        own = (query * own_key).sum(-1, dtype=exact) * scale
        weights = len(rounds) * (own - normaliser).exp_()
        of_scores = weights * ((upstream * own_value).sum(-1, dtype=exact) - shared) * scale
        of_query = of_scores.unsqueeze(-1) * own_key
        of_key, of_value = (torch.zeros_like(part, dtype=exact) for part in (key, value))
        of_key[:, -new:] = of_scores.unsqueeze(-1) * query
        of_value[:, -new:] = weights.unsqueeze(-1) * upstream
        states = query, key, value, upstream, normaliser, shared
        for each in rounds:
            parts = _gradients(each, *states, scale=scale)
            for whole, part in zip((of_query, of_key, of_value), parts, strict=True):
                whole += part
        inputs = (_by_token(part, like=gradients[0]) for part in (of_query, of_key, of_value))
        return *inputs, None, *(None for _ in orders)


def _found(
    each: Round, query: Tensor, key: Tensor, value: Tensor, *, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Of what one round adds to a query's own position: the greatest score [N, T], the sum of the
    exponentials of scores less that [N, T], and the values weighted with them [N, T, D]."""
    exact = torch.promote_types(query.dtype, torch.float32)
    query, key, value = (
        _ordered(part, order) for part, order in ((query, each.queries), (key, each.keys), (value, each.keys))
    )
    lowest = torch.finfo(exact).min  # of a query that finds nothing
    most = torch.full(query.shape[:2], lowest, dtype=exact, device=query.device)
    total, mixed = torch.zeros_like(most), torch.zeros_like(query, dtype=exact)
    for block in _blocks(each):
        scores = _scores(each, block, query[block.queries], block.of(key), scale)
        greatest = scores.amax(-1, keepdim=True).clamp_(min=lowest)
        weights = scores.sub_(greatest).exp_()
        most[block.queries] = greatest.squeeze(-1)
        total[block.queries] = weights.sum(-1)
        mixed[block.queries] = torch.bmm(weights.to(value.dtype), block.of(value)).to(exact)
    back = _inverse(each.queries)
    return most.gather(1, back), total.gather(1, back), _ordered(mixed, back)


def _gradients(
    each: Round,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    upstream: Tensor,
    normaliser: Tensor,
    shared: Tensor,
    *,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """What one round adds to those of queries [N, T, D], keys and values [N, S, D]. `normaliser` [N, T]: the
    logarithm of a query's, over all rounds; `shared` [N, T]: the mean of its weights' gradients."""
    exact = normaliser.dtype
    order = each.queries.long()
    query, upstream = (_ordered(part, order) for part in (query, upstream))
    key, value = (_ordered(part, each.keys) for part in (key, value))
    normaliser, shared = (part.gather(1, order).unsqueeze(-1) for part in (normaliser, shared))
    of_query, of_key, of_value = (torch.zeros_like(part, dtype=exact) for part in (query, key, value))
    for block in _blocks(each):
        queries, keys, values = query[block.queries], block.of(key), block.of(value)
        part = upstream[block.queries]
        weights = _scores(each, block, queries, keys, scale).sub_(normaliser[block.queries]).exp_()
        of_weights = torch.bmm(part, values.transpose(1, 2)).to(exact)
        of_scores = of_weights.sub_(shared[block.queries]).mul_(weights).mul_(scale).to(query.dtype)
        of_query[block.queries] = torch.bmm(of_scores, keys).to(exact)
        block.add(of_key, torch.bmm(of_scores.transpose(1, 2), queries))
        block.add(of_value, torch.bmm(weights.to(value.dtype).transpose(1, 2), part))
    back = _inverse(each.keys)
    return _ordered(of_query, _inverse(order)), _ordered(of_key, back), _ordered(of_value, back)


@dataclass(frozen=True)
class _Block:
    """Queries of consecutive ranks, and the keys that any of them sees."""

    queries: tuple[slice, slice]  # heads and ranks
    starts: tuple[int, ...]  # of each head, the rank of the first key
    keys: int

    def of(self, ordered: Tensor) -> Tensor:
        """[N, S, D] -> [heads, keys, D]."""
        first = self.queries[0].start
        spans = [ordered[first + head, start : start + self.keys] for head, start in enumerate(self.starts)]
        return torch.stack(spans) if len(spans) > 1 else spans[0].unsqueeze(0)

    def add(self, ordered: Tensor, parts: Tensor) -> None:
        """To [N, S, D] what is of the block's keys."""
        first = self.queries[0].start
        for head, start in enumerate(self.starts):
            ordered[first + head, start : start + self.keys].add_(parts[head])


def _blocks(each: Round) -> Iterator[_Block]:
    (heads, new), length = each.first.shape, each.keys.shape[1]
    padded = F.pad(each.last, (0, -new % _BLOCK), value=-1).view(heads, -1, _BLOCK)
    starts = each.first[:, ::_BLOCK].t().tolist()  # they never decrease
    ends = (padded.amax(-1) + 1).t().tolist()
    for number, (begin, end) in enumerate(zip(starts, ends, strict=True)):
        ranks = slice(number * _BLOCK, min((number + 1) * _BLOCK, new))
        widest = max(1, *(stop - start for start, stop in zip(begin, end, strict=True)))
        together = max(1, _ELEMENTS[each.keys.is_cuda] // (_BLOCK * widest))
        for head in range(0, heads, together):
            own = slice(head, min(head + together, heads))
            keys = max(stop - start for start, stop in zip(begin[own], end[own], strict=True))
            if keys > 0:
                yield _Block((own, ranks), tuple(min(start, length - keys) for start in begin[own]), keys)


def _scores(each: Round, block: _Block, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """[n, t, D] and [n, s, D] -> [n, t, s], minus infinity where a query does not see a key."""
    scores = queries.new_empty(*queries.shape[:2], keys.shape[1])
    torch.baddbmm(scores, queries, keys.transpose(1, 2), beta=0, alpha=scale, out=scores)
    starts = each.first[block.queries[0], block.queries[1].start].clamp(max=each.keys.shape[1] - block.keys)
    first, last = (
        (ranks[block.queries] - starts.unsqueeze(1)).unsqueeze(-1) for ranks in (each.first, each.last)
    )
    places = torch.arange(block.keys, dtype=torch.int32, device=keys.device)
    hidden = (places < first).logical_or_(places > last)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill_(hidden, float("-inf"))


def _rounds(orders: Sequence[Tensor]) -> list[Round]:
    return [Round(*orders[start : start + 4]) for start in range(0, len(orders), 4)]


def _by_head(features: Tensor) -> Tensor:
    """[B, T, A, D] -> [B * A, T, D]."""
    return features.transpose(1, 2).flatten(0, 1)


def _by_token(features: Tensor, *, like: Tensor) -> Tensor:
    """[B * A, T, D] -> [B, T, A, D], in the batch and the dtype of `like`."""
    shaped = features.to(like.dtype).view(like.shape[0], -1, *features.shape[1:])
    return shaped.transpose(1, 2).contiguous()


def _ordered(features: Tensor, order: Tensor) -> Tensor:
    """[N, T, D], int [N, T] -> [N, T, D]."""
    heads, length, _ = features.shape
    rows = order + torch.arange(heads, device=order.device).unsqueeze(1) * length
    return features.flatten(0, 1).index_select(0, rows.flatten()).view_as(features)


def _inverse(order: Tensor) -> Tensor:
    """int64 [N, T], where each index has gone."""
    ranks = torch.arange(order.shape[1], device=order.device).expand(order.shape)
    return torch.empty(order.shape, dtype=torch.int64, device=order.device).scatter_(1, order.long(), ranks)
