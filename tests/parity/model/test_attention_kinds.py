"""Each kind of attention equals dense attention where it may see everything, elsewhere its definition."""

import pytest
import torch
from small_architectures import OWN, PLAIN

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model import chunked_attention
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.grouped_query import GroupedQueryAttention
from deepseek_workloads.model.lsh import LSHAttention
from deepseek_workloads.model.sliding_window import SlidingWindowAttention
from deepseek_workloads.plan.estimate import flops_per_token

LENGTH = 40
EVERY = {**PLAIN, **OWN}


def attention(name: str, **settings: object) -> Architecture:
    architecture = EVERY[name]
    return architecture.model_copy(update={"attention": architecture.attention.model_copy(update=settings)})


def states(*, seed: int = 1) -> list[torch.Tensor]:
    """Queries, keys and values [B, T, A, D]."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, LENGTH, 4, 12, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(3)
    ]


def by_mask(parts: list[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Dense attention with what may be seen [.., T, T], written out."""
    query, key, value = (part.transpose(1, 2) for part in parts)
    scores = (query @ key.transpose(-1, -2) * 12**-0.5).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def causal() -> torch.Tensor:
    return torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()


@pytest.mark.parametrize(
    "module",
    [
        GroupedQueryAttention(attention("grouped queries")),
        SlidingWindowAttention(attention("sliding window", sliding_window=LENGTH)),
        SlidingWindowAttention(attention("sliding window", sliding_window=1000)),
        LSHAttention(attention("lsh", num_buckets=1)),
        LSHAttention(attention("lsh", num_buckets=1, num_hashes=1)),
    ],
    ids=["gqa", "window of the sequence", "longer window", "one bucket, two rounds", "one bucket"],
)
def test_with_a_budget_for_the_whole_sequence_it_is_dense_attention(module: GroupedQueryAttention) -> None:
    parts = states()

    ours, expected = module.attend(*parts), by_mask(parts, causal())

    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), parts), torch.autograd.grad(expected.square().sum(), parts)
    )


@pytest.mark.parametrize("window", [1, 7, 8, 20, 39])
@pytest.mark.parametrize("on_gpu", [False, True], ids=["cpu", "as on a gpu"])
def test_a_window_is_dense_attention_to_the_newest_tokens(
    window: int, on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_attention, "_BLOCK", 8)
    parts = states()
    near = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1 - window)
    module = SlidingWindowAttention(attention("sliding window", sliding_window=window))

    ours = module._in_blocks(*parts) if on_gpu else module.attend(*parts)
    expected = by_mask(parts, causal() & near)

    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), parts), torch.autograd.grad(expected.square().sum(), parts)
    )


def test_a_round_of_hashing_sees_the_newest_keys_of_the_own_bucket_and_itself() -> None:
    parts = states()
    module = LSHAttention(attention("lsh", num_buckets=4, num_hashes=1))
    query, key, _ = (part.transpose(1, 2) for part in parts)
    of_query, of_key = module.buckets(query)[0], module.buckets(key)[0]
    seen = torch.zeros(2, 4, LENGTH, LENGTH, dtype=torch.bool)
    for batch, head, place in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(LENGTH)):
        bucket = of_query[batch, head, place]
        same = [other for other in range(int(place) + 1) if of_key[batch, head, other] == bucket]
        seen[batch, head, place, [*same[-20:], int(place)]] = True  # twice 40 / 4

    ours, expected = module.attend(*parts), by_mask(parts, seen)

    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), parts), torch.autograd.grad(expected.square().sum(), parts)
    )


def test_near_directions_share_a_bucket_and_opposite_ones_do_not() -> None:
    module = LSHAttention(attention("lsh", num_buckets=16, num_hashes=64))
    direction = torch.randn(1, 1, 1, 12, generator=torch.Generator().manual_seed(1))

    def shared(other: torch.Tensor) -> float:
        return float((module.buckets(direction) == module.buckets(other)).double().mean())

    near = direction + 0.1 * torch.randn(direction.shape, generator=torch.Generator().manual_seed(2))
    assert shared(direction * 7) == 1  # an angle, not a length
    assert shared(near) > 0.7
    assert shared(-direction) == 0


@pytest.mark.parametrize("name", EVERY)
def test_no_token_sees_a_later_one(name: str) -> None:
    model = DeepseekV3ForCausalLM(EVERY[name]).double().eval()
    model.init_weights(2)
    ids = torch.randint(96, (1, 30), generator=torch.Generator().manual_seed(3))
    changed = ids.clone()
    changed[:, 20:] = (ids[:, 20:] + 1) % 96

    with torch.no_grad():
        torch.testing.assert_close(model(ids)[:, :20], model(changed)[:, :20])


@pytest.mark.parametrize("name", [name for name in EVERY if name != "lsh"])
def test_decoding_token_by_token_gives_the_logits_of_one_pass(name: str) -> None:
    model = DeepseekV3ForCausalLM(EVERY[name]).double().eval()
    model.init_weights(2)
    ids = torch.randint(96, (2, 24), generator=torch.Generator().manual_seed(3))
    caches = model.caches()

    with torch.no_grad():
        pieces = [model(ids[:, :10], caches=caches), model(ids[:, 10:15], start=10, caches=caches)]
        pieces += [model(ids[:, place : place + 1], start=place, caches=caches) for place in range(15, 24)]
        expected = model(ids)

    torch.testing.assert_close(torch.cat(pieces, dim=1), expected)


@pytest.mark.parametrize(("kind", "length"), [("slidingWindow", 4096), ("lsh", 4096)])
def test_the_plan_counts_what_a_kind_sees(kind: str, length: int) -> None:
    dense = attention("grouped queries").model_copy(update={"max_position_embeddings": length})
    settings = {"kind": kind, "sliding_window": 64, "num_buckets": 64, "num_hashes": 4}
    sparse = dense.model_copy(update={"attention": dense.attention.model_copy(update=settings)})

    assert flops_per_token(sparse, sequence_length=length) < flops_per_token(dense, sequence_length=length)
