"""Balancing, and experts that get no tokens or all of them."""

from typing import TypeVar

import pytest
import torch
from hugging_face_oracle import token_ids
from small_architectures import BASE, NEXTN, with_moe

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.router import Router

M = TypeVar("M", bound=torch.nn.Module)


def model(architecture: Architecture = BASE) -> DeepseekV3ForCausalLM:
    made = DeepseekV3ForCausalLM(architecture)
    made.init_weights(1)
    return made


def drawn(module: M) -> M:
    """With weights: a module has none before a model gives them."""
    generator = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return module


def by_definition(module: RoutedExperts, tokens: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor):
    """One token and one choice at a time."""
    outputs = []
    for token, choices, factors in zip(tokens, chosen, weights, strict=True):
        parts = []
        for choice, factor in zip(choices.tolist(), factors, strict=True):
            gate, up = (module.gate_up_proj[choice] @ token).chunk(2)
            parts.append(factor * (module.down_proj[choice] @ (torch.nn.functional.silu(gate) * up)))
        outputs.append(torch.stack(parts).sum(0))
    return torch.stack(outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["grouped product", "loop"])
@pytest.mark.parametrize(
    "used", [list(range(8)), [0, 1, 2, 5], [7, 6, 5]], ids=["all experts", "some experts", "three experts"]
)
def test_experts_and_their_gradients_by_definition(dtype: torch.dtype, used: list[int]) -> None:
    generator = torch.Generator().manual_seed(2)
    module = drawn(RoutedExperts(BASE.moe, hidden=BASE.hidden_size).to(dtype))
    tokens = torch.randn(20, BASE.hidden_size, generator=generator).to(dtype).requires_grad_()
    chosen = torch.stack(
        [torch.tensor(used)[torch.randperm(len(used), generator=generator)[:3]] for _ in range(20)]
    )
    weights = torch.rand(20, 3, generator=generator).to(dtype).requires_grad_()
    counts = torch.bincount(chosen.flatten(), minlength=8)
    inputs = [tokens, weights, module.gate_up_proj, module.down_proj]

    ours = module(tokens, chosen, weights, counts)
    expected = by_definition(module, tokens, chosen, weights)

    # In float32 sums in another order differ in the last digits; float64 shows that nothing else does.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(ours, expected, **tolerance)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        **tolerance,
    )


def test_counts_are_the_choices_of_every_mixture_layer() -> None:
    parts = model().loss(token_ids(BASE, sequences=2, length=17))

    assert parts.expert_counts.shape == (2, 8)
    assert parts.expert_counts.sum(1).tolist() == [2 * 16 * 3] * 2
    assert parts.tokens == 32


def test_the_bias_of_an_overloaded_expert_falls_and_of_an_idle_one_rises() -> None:
    trained = model(with_moe(bias_update_speed=0.25))
    counts = torch.tensor([[8, 0, 4, 4, 4, 4, 4, 4]] * 2)

    trained.update_router_bias(counts)

    for mixture in trained.mixtures():
        assert mixture.gate.e_score_correction_bias.tolist() == [-0.25, 0.25, 0, 0, 0, 0, 0, 0]


def test_following_the_load_evens_it_out() -> None:
    trained = model(with_moe(bias_update_speed=0.01, n_group=1, topk_group=1))
    with torch.no_grad():
        for mixture in trained.mixtures():
            mixture.gate.weight.mul_(20)
    ids = token_ids(BASE, sequences=16, length=33)

    def imbalance() -> float:
        counts = trained.loss(ids).expert_counts.double()
        return float((counts.max(1).values / counts.mean(1)).mean())

    before = imbalance()
    for _ in range(60):
        trained.update_router_bias(trained.loss(ids).expert_counts)

    assert imbalance() < 1 + (before - 1) / 2


def test_the_balance_loss_follows_equations_17_to_20_of_the_report() -> None:
    moe = with_moe(sequence_balance_loss_weight=0.3)
    router = drawn(Router(moe.moe, hidden=BASE.hidden_size))
    hidden = torch.randn(2, 9, BASE.hidden_size, generator=torch.Generator().manual_seed(3))
    experts, choices = moe.moe.n_routed_experts, moe.moe.num_experts_per_tok

    expected = 0.0
    for sequence in hidden:
        scores = torch.sigmoid(sequence @ router.weight.T)
        best = scores.topk(choices).indices
        for expert in range(experts):
            frequency = experts / (choices * len(sequence)) * float((best == expert).sum())
            expected += 0.3 * frequency * float((scores / scores.sum(1, keepdim=True))[:, expert].mean()) / 2

    assert float(router(hidden).losses["balanceLoss"]) == pytest.approx(expected, rel=1e-5)


def test_the_balance_loss_is_part_of_the_loss_and_trains_the_router_only_in_training() -> None:
    trained = model(with_moe(sequence_balance_loss_weight=0.5))
    ids = token_ids(BASE, sequences=2, length=17)

    parts = trained.loss(ids)
    trained.eval()
    evaluated = trained.loss(ids)

    assert float(parts.auxiliary["balanceLoss"]) > 0
    torch.testing.assert_close(parts.loss.detach(), parts.lm_loss + parts.auxiliary["balanceLoss"])
    assert evaluated.auxiliary == {}
    torch.testing.assert_close(evaluated.lm_loss, parts.lm_loss)


def test_scores_are_computed_in_float32_under_autocast() -> None:
    router = drawn(Router(BASE.moe, hidden=BASE.hidden_size))
    hidden = torch.randn(2, 9, BASE.hidden_size)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = router(hidden)

    torch.testing.assert_close(routing.weights, router(hidden).weights, atol=0, rtol=0)


def test_the_load_balance_loss_is_that_of_the_switch_transformer_over_the_step_before() -> None:
    moe = with_moe(load_balance_loss_weight=0.3)
    router = drawn(Router(moe.moe, hidden=BASE.hidden_size))
    hidden = torch.randn(2, 9, BASE.hidden_size, generator=torch.Generator().manual_seed(3))
    counts = torch.tensor([40, 0, 8, 8, 8, 16, 0, 0])

    first = float(router(hidden).losses["loadBalanceLoss"])
    router.update(counts)
    scores = torch.sigmoid(hidden.flatten(0, 1) @ router.weight.T)
    share = (scores / scores.sum(1, keepdim=True)).mean(0)
    expected = 0.3 * 8 * float((counts / 80 * share).sum())

    assert first == 0  # nothing is known of the load yet
    assert float(router(hidden).losses["loadBalanceLoss"]) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_the_load_balance_loss_is_the_mean_over_passes() -> None:
    router = drawn(Router(with_moe(load_balance_loss_weight=0.3).moe, hidden=BASE.hidden_size))
    router.update(torch.tensor([40, 0, 8, 8, 8, 16, 0, 0]))
    hidden = torch.randn(4, 9, BASE.hidden_size, generator=torch.Generator().manual_seed(3))

    def gradient(part: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(router(part).losses["loadBalanceLoss"], router.weight)[0]

    of_passes = torch.stack([gradient(part) for part in hidden.chunk(2)]).mean(0)
    torch.testing.assert_close(of_passes, gradient(hidden))


def packed(lengths: list[int], *, width: int) -> torch.Tensor:
    """Documents of rows that hold one each, of such a length, and padding behind."""
    return torch.where(torch.arange(width) < torch.tensor(lengths).unsqueeze(1), 0, -1)


def test_padding_is_no_part_of_the_load_nor_of_a_loss() -> None:
    moe = with_moe(
        sequence_balance_loss_weight=0.3, load_balance_loss_weight=0.2, expert_capacity_factor=0.01
    ).moe
    router = drawn(Router(moe, hidden=BASE.hidden_size))
    router.update(torch.tensor([40, 0, 8, 8, 8, 16, 0, 0]))
    hidden = torch.randn(2, 9, BASE.hidden_size, generator=torch.Generator().manual_seed(3))
    lengths = [5, 7]

    with router.documents.within(packed(lengths, width=9)):
        padded = router(hidden)
    alone = [router(row[:length].unsqueeze(0)) for row, length in zip(hidden, lengths, strict=True)]

    assert padded.counts.tolist() == sum(row.counts for row in alone).tolist()
    assert int(padded.dropped) == sum(int(row.dropped) for row in alone) > 0
    of_sequences, of_tokens = (
        [float(row.losses[name]) for row in alone] for name in ("balanceLoss", "loadBalanceLoss")
    )
    assert float(padded.losses["balanceLoss"]) == pytest.approx(sum(of_sequences) / 2, rel=1e-5)
    expected = sum(loss * length for loss, length in zip(of_tokens, lengths, strict=True)) / sum(lengths)
    assert float(padded.losses["loadBalanceLoss"]) == pytest.approx(expected, rel=1e-5)


def test_the_counts_of_packed_rows_are_those_of_their_tokens_in_every_mixture_layer() -> None:
    trained = model(NEXTN)
    with trained.documents.within(packed([10, 13], width=16)):
        parts = trained.loss(token_ids(NEXTN, sequences=2, length=17))

    assert parts.expert_counts.sum(1).tolist() == [(10 + 13) * 3] * 4
    assert not parts.dropped.any()
