"""Modules that keep their matrices as int8 compute what widened matrices would."""

import pytest
import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import MoE
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.int8 import Int8Experts, Int8Linear, keep_int8
from deepseek_workloads.model.integers import to_int8, widened

_MOE = MoE(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=12)
# Of results of the size one: in bfloat16 two roundings instead of one.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def bytes_of(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_linear_layer_is_that_of_the_widened_matrix(dtype: torch.dtype, bias: bool) -> None:
    model = nn.Sequential(nn.Linear(32, 24, bias=bias))
    matrix = to_int8(model[0].weight.detach() * torch.logspace(-3, 1, 24).unsqueeze(1))
    model[0].weight = nn.Parameter(widened(matrix))
    inputs = drawn(2, 5, 32)
    expected = model(inputs)

    assert keep_int8(model, {"0.weight": matrix}) == {}
    model.to(dtype)

    assert isinstance(model[0], Int8Linear)
    atol = rtol = TOLERANCE[dtype]
    torch.testing.assert_close(model(inputs.to(dtype)).float(), expected, atol=atol, rtol=rtol)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_experts_are_those_of_widened_matrices_with_and_without_tokens(dtype: torch.dtype) -> None:
    model = nn.ModuleDict({"experts": RoutedExperts(_MOE, hidden=16)}).eval()
    matrices = {
        f"experts.{name}": to_int8(weight.detach()) for name, weight in model.experts.named_parameters()
    }
    with torch.no_grad():
        for name, weight in model.experts.named_parameters():
            weight.copy_(widened(matrices[f"experts.{name}"]))
    tokens, chosen = drawn(6, 16), torch.tensor([[0, 3]] * 4 + [[3, 0]] * 2)  # 1 and 2 have none
    weights, counts = torch.full((6, 2), 0.5), torch.tensor([6, 0, 0, 6])
    expected = model.experts(tokens, chosen, weights, counts)

    keep_int8(model, matrices)
    model.to(dtype)

    assert isinstance(model.experts, Int8Experts)
    found = model.experts(tokens.to(dtype), chosen, weights.to(dtype), counts)
    atol = rtol = TOLERANCE[dtype]
    torch.testing.assert_close(found.float(), expected, atol=atol, rtol=rtol)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_cast_changes_neither_values_nor_scales(dtype: torch.dtype) -> None:
    matrix = to_int8(drawn(64, 32))
    linear = Int8Linear(matrix, None).to(dtype)
    assert torch.equal(linear.values, matrix.values)
    assert torch.equal(linear.scale, matrix.scale)
    assert bytes_of(linear) == 64 * 32 + 64 * 4


def test_what_no_module_multiplies_by_comes_back_widened() -> None:
    model = nn.ModuleDict({"kv_b_proj": nn.Linear(8, 4, bias=False), "embed_tokens": nn.Embedding(4, 8)})
    names = [f"{name}.weight" for name in model] + ["experts.gate_up_proj"]
    matrix = to_int8(drawn(4, 8))

    rest = keep_int8(nn.ModuleDict({"model": model}), {f"model.{name}": matrix for name in names})

    assert rest.keys() == {f"model.{name}" for name in names}
    assert all(torch.equal(tensor, widened(matrix)) for tensor in rest.values())
