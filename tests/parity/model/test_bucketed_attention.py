"""Attention within buckets equals its definition, written out, in float64."""

import pytest
import torch
from torch import Tensor

from deepseek_workloads.model import bucketed_attention
from deepseek_workloads.model.bucketed_attention import attend_in_buckets

ROUNDS, ROWS, HEADS, SCALE = 3, 2, 4, 0.3


def counted(of_queries: Tensor, of_keys: Tensor, *, budget: int) -> Tensor:
    """float64 [B, A, T, S]: in how many rounds a query sees a key."""
    new, seen = of_queries.shape[-1], of_keys.shape[-1]
    counts = torch.zeros(ROWS, HEADS, new, seen, dtype=torch.float64)
    for each, row, head, query in torch.cartesian_prod(
        *map(torch.arange, (ROUNDS, ROWS, HEADS, new))
    ).tolist():
        place, bucket = seen - new + query, of_queries[each, row, head, query]
        same = [key for key in range(place + 1) if of_keys[each, row, head, key] == bucket]
        counts[row, head, query, [*{*same[-budget:], place}]] += 1
    return counts


def by_definition(queries: Tensor, keys: Tensor, values: Tensor, counts: Tensor) -> Tensor:
    query, key, value = (part.transpose(1, 2) for part in (queries, keys, values))
    weights = ((query @ key.transpose(-1, -2) * SCALE) + counts.log()).softmax(-1)
    return (weights @ value).transpose(1, 2)


@pytest.mark.parametrize("buckets", [1, 4, 40], ids="{} buckets".format)
@pytest.mark.parametrize(("new", "seen", "budget"), [(21, 21, 5), (21, 21, 100), (9, 21, 4), (1, 21, 4)])
@pytest.mark.parametrize("at_a_time", [1, 10**6], ids=["head by head", "all heads"])
def test_a_query_sees_the_newest_keys_of_its_bucket_and_itself_in_each_round(
    buckets: int, new: int, seen: int, budget: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucketed_attention, "_BLOCK", 8)
    monkeypatch.setattr(bucketed_attention, "_ELEMENTS", {False: at_a_time})
    generator = torch.Generator().manual_seed(buckets)
    parts = [
        torch.randn(ROWS, length, HEADS, 6, generator=generator, dtype=torch.float64).requires_grad_()
        for length in (new, seen, seen)
    ]
    # Squares make buckets as uneven as text does: queries fall where few keys are, and some find none.
    of_queries, of_keys = (
        (torch.rand(ROUNDS, ROWS, HEADS, length, generator=generator) ** power * buckets).long()
        for length, power in ((new, 1), (seen, 2))
    )

    ours = attend_in_buckets(*parts, of_queries=of_queries, of_keys=of_keys, budget=budget, scale=SCALE)
    expected = by_definition(*parts, counted(of_queries, of_keys, budget=budget))

    torch.testing.assert_close(ours, expected)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours, parts, upstream), torch.autograd.grad(expected, parts, upstream)
    )


def test_scores_far_apart_leave_no_query_without_weights() -> None:
    """The own key may be hopeless beside one that a round finds, and the other way round."""
    queries = torch.tensor([[1.0], [1.0], [1.0]]).view(1, 3, 1, 1)
    keys = torch.tensor([[2000.0], [-2000.0], [0.0]]).view(1, 3, 1, 1)
    values = torch.tensor([[1.0], [2.0], [3.0]]).view(1, 3, 1, 1)
    alike = torch.zeros(1, 1, 1, 3, dtype=torch.int64)

    attended = attend_in_buckets(queries, keys, values, of_queries=alike, of_keys=alike, budget=3, scale=1.0)

    assert attended.flatten().tolist() == [1.0, 1.0, 1.0]
