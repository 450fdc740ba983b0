"""Orthogonal updates: of one matrix as torch's own Muon makes them, of experts each by itself."""

import pytest
import torch
from torch import nn

from deepseek_workloads.contract.architecture import MoE
from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.optimizers.muon import orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (3, 6, 20)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalise(matrices)
    turned = left.mT @ result @ right.mT
    new = turned.diagonal(dim1=-2, dim2=-1)
    assert ((new > 0.6) & (new < 1.3))[values > 0.05 * values.amax()].all()
    torch.testing.assert_close(turned, torch.diag_embed(new), atol=1e-3, rtol=0)


def test_a_batch_is_its_matrices_one_by_one() -> None:
    torch.manual_seed(0)
    experts = torch.randn(4, 6, 10)
    alone = torch.stack([orthogonalise(expert) for expert in experts])
    torch.testing.assert_close(orthogonalise(experts), alone)


def test_the_zero_matrix_stays_zero() -> None:
    assert orthogonalise(torch.zeros(4, 4)).count_nonzero() == 0


def test_the_update_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, reference = nn.Linear(12, 6, bias=False), nn.Linear(12, 6, bias=False)
    reference.load_state_dict(ours.state_dict())
    before = ours.weight.detach().clone()
    config = Optimizer(name="muon", learning_rate=0.02, weight_decay=0.1)
    optimizers = (
        build_optimizer(ours, config),
        torch.optim.Muon(
            reference.parameters(),
            lr=0.02,
            weight_decay=0.1,
            momentum=0.95,
            adjust_lr_fn="match_rms_adamw",
        ),
    )
    inputs = torch.randn(5, 12)
    for _ in range(3):
        for model, optimizer in zip((ours, reference), optimizers, strict=True):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()
    # torch computes the iteration in bfloat16, also on a CPU: three digits.
    moved, expected = (ours.weight - before).flatten(), (reference.weight - before).flatten()
    assert torch.cosine_similarity(moved, expected, dim=0) > 0.99
    assert moved.norm().item() == pytest.approx(expected.norm().item(), rel=0.02)


def test_gate_and_up_of_an_expert_are_moved_as_those_of_a_network_with_a_matrix_for_each() -> None:
    torch.manual_seed(0)
    moe = MoE(n_routed_experts=3, num_experts_per_tok=1, moe_intermediate_size=6, n_group=1, topk_group=1)
    experts = RoutedExperts(moe, hidden=10)
    gates, ups = (
        nn.ParameterList(matrix.clone() for matrix in half)
        for half in experts.gate_up_proj.detach().chunk(2, dim=1)
    )
    gradient = torch.randn_like(experts.gate_up_proj)
    experts.gate_up_proj.grad = gradient
    experts.down_proj.grad = torch.randn_like(experts.down_proj)
    for expert in range(3):
        gates[expert].grad, ups[expert].grad = gradient[expert, :6], gradient[expert, 6:]
    config = Optimizer(name="muon", learning_rate=0.02, weight_decay=0.1)
    for model in (experts, gates, ups):
        build_optimizer(model, config).step()
    apart = torch.stack([torch.cat(pair) for pair in zip(gates, ups, strict=True)])
    torch.testing.assert_close(experts.gate_up_proj, apart)
