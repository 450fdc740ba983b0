"""Grouped products in float8 are those of torchao's linear layers, off by no more than three bits allow."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchao.float8 import Float8LinearConfig
from torchao.float8.float8_linear import Float8Linear

from deepseek_workloads.model.float8 import float8_grouped_linear, to_float8, widened
from deepseek_workloads.model.grouped_network import grouped_linear, grouped_network


def rows(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values * torch.logspace(-3, 3, shape[-2]).unsqueeze(1)  # each row of another size


def test_a_group_alone_is_torchaos_linear_to_the_last_bit() -> None:
    config = Float8LinearConfig.from_recipe_name("rowwise_with_gw_hp")
    object.__setattr__(config, "emulate", True)
    linear = nn.Linear(32, 48, bias=False, dtype=torch.bfloat16)
    inputs = rows(20, 32).bfloat16()
    expected = Float8Linear.from_float(linear, config)(inputs)
    found = float8_grouped_linear(inputs, linear.weight.detach().t().unsqueeze(0), torch.tensor([20]))
    assert torch.equal(found, expected)


@given(exponent=st.integers(-60, 60), seed=st.integers(0, 99))
def test_a_row_is_off_by_at_most_half_of_the_last_of_three_bits(exponent: int, seed: int) -> None:
    values = rows(4, 64, seed=seed) * 2.0**exponent
    found = widened(*to_float8(values, dim=1), torch.float32)
    largest = values.abs().amax(1, keepdim=True)
    # Below 2^-6 of float8's own range the steps no longer shrink.
    assert ((found - values).abs() <= values.abs().mul(2.0**-4).maximum(largest * 2.0**-17)).all()


def test_a_row_of_zeros_stays_one() -> None:
    assert widened(*to_float8(torch.zeros(2, 16), dim=1), torch.float32).eq(0).all()


def test_rows_do_not_see_each_other() -> None:
    inputs, matrices = rows(6, 32), rows(2, 32, 16)
    together = float8_grouped_linear(inputs, matrices, torch.tensor([4, 2]))
    apart = [
        float8_grouped_linear(inputs[i : i + 1], matrices, torch.tensor([i < 4, i >= 4])) for i in range(6)
    ]
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("sizes", [(24, 16), (16, 24)])
def test_other_sizes_are_not_rounded(sizes: tuple[int, int]) -> None:
    inputs, matrices = rows(4, sizes[0]), rows(1, *sizes)
    counts = torch.tensor([4])
    found = float8_grouped_linear(inputs, matrices, counts)
    assert torch.equal(found, grouped_linear(inputs, matrices, counts))


def test_gradients_of_weights_are_of_rounded_activations_alone() -> None:
    """That of `down` is an outer product in full: all that is rounded is what the first product made."""
    inputs, gate_up, down = rows(6, 32), rows(2, 32, 32, seed=1), rows(2, 32, 16, seed=2)
    counts, parts = torch.tensor([4, 2]), [gate_up.requires_grad_(), down.requires_grad_()]
    outputs = grouped_network(inputs, torch.ones(6), (gate_up, down), counts, linear=float8_grouped_linear)
    outputs.sum().backward()
    inner = float8_grouped_linear(inputs, gate_up.detach().transpose(1, 2), counts)
    gate, up = inner.chunk(2, dim=-1)
    activated = nn.functional.silu(gate) * up
    expected = torch.stack([activated[:4].sum(0), activated[4:].sum(0)]).unsqueeze(1).expand(2, 32, 16)
    torch.testing.assert_close(parts[1].grad, expected)
