"""An expert with a capacity takes the first tokens of each sequence that choose it, and no more."""

from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_architectures import BASE, with_moe

from deepseek_workloads.contract.architecture import MoE
from deepseek_workloads.model.block import MixtureOfExperts
from deepseek_workloads.model.capacity import within_capacity


def moe(factor: float, *, experts: int = 8, choices: int = 3) -> MoE:
    return BASE.moe.model_copy(
        update={
            "n_routed_experts": experts,
            "num_experts_per_tok": choices,
            "expert_capacity_factor": factor,
        }
    )


def by_definition(chosen: list[list[int]], *, length: int, capacity: int, experts: int) -> list[list[int]]:
    """One sequence, token and choice at a time."""
    kept = []
    taken = [0] * experts
    for place, choices in enumerate(chosen):
        if place % length == 0:
            taken = [0] * experts
        row = []
        for choice in choices:
            row.append(choice if taken[choice] < capacity else experts)
            taken[choice] += 1
        kept.append(row)
    return kept


@given(
    seed=st.integers(0, 1000),
    sequences=st.integers(1, 3),
    length=st.integers(1, 9),
    experts=st.integers(2, 6),
    factor=st.sampled_from([0.2, 0.5, 1.0, 1.5, 8.0]),
)
def test_first_come_first_served(seed: int, sequences: int, length: int, experts: int, factor: float) -> None:
    settings = moe(factor, experts=experts, choices=2)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(sequences * length, experts, generator=generator) ** 2
    chosen = scores.topk(2).indices

    kept, weights, counts = within_capacity(
        chosen, torch.ones(chosen.shape), moe=settings, sequence_length=length
    )

    capacity = ceil(factor * length * 2 / experts)
    expected = by_definition(chosen.tolist(), length=length, capacity=capacity, experts=experts)
    assert kept.tolist() == expected
    assert weights.tolist() == [[float(choice < experts) for choice in row] for row in expected]
    assert counts.tolist() == [sum(row.count(expert) for row in expected) for expert in range(experts)]


def mixture(factor: float | None) -> MixtureOfExperts:
    torch.manual_seed(1)
    settings = with_moe(expert_capacity_factor=factor, n_group=1, topk_group=1).moe
    assert settings is not None
    return MixtureOfExperts(settings, hidden=BASE.hidden_size)


def test_a_sequence_alone_gets_what_it_gets_in_a_batch() -> None:
    module = mixture(0.5)
    hidden = torch.randn(3, 12, BASE.hidden_size, generator=torch.Generator().manual_seed(2))

    together = module(hidden)
    alone = [module(sequence.unsqueeze(0)) for sequence in hidden]

    torch.testing.assert_close(together.hidden, torch.cat([output.hidden for output in alone]))
    assert int(together.dropped) == sum(int(output.dropped) for output in alone) > 0


def test_later_tokens_change_nothing_before_them() -> None:
    module = mixture(0.5)
    hidden = torch.randn(1, 12, BASE.hidden_size, generator=torch.Generator().manual_seed(2))
    changed = hidden.clone()
    changed[:, 8:] = hidden[:, :1]

    torch.testing.assert_close(module(hidden).hidden[:, :8], module(changed).hidden[:, :8])


@pytest.mark.parametrize("training", [True, False])
def test_with_room_for_all_or_outside_training_nothing_is_dropped(training: bool) -> None:
    limited, free = mixture(8.0 if training else 0.01), mixture(None)
    hidden = torch.randn(2, 12, BASE.hidden_size, generator=torch.Generator().manual_seed(2))

    limited.train(training)
    torch.testing.assert_close(limited(hidden).hidden, free(hidden).hidden)
    assert int(limited(hidden).dropped) == 0


def test_what_is_dropped_still_counts_as_chosen_and_gets_no_gradient() -> None:
    module = mixture(0.01)  # one token of a sequence
    hidden = torch.randn(1, 12, BASE.hidden_size, generator=torch.Generator().manual_seed(2))

    output = module(hidden)
    output.hidden.square().sum().backward()

    assert output.expert_counts.sum() == 12 * 3
    assert int(output.dropped) == 12 * 3 - int((output.expert_counts > 0).sum())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in module.parameters())
