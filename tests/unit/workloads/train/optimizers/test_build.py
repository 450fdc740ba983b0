"""Which parameters get what: decay is for matrices, orthogonal updates for those between the ends."""

import torch
from torch import nn

from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.model.head import LanguageModelHead
from deepseek_workloads.train.optimizers.build import build_optimizer, set_learning_rate


def test_matrices_decay_and_vectors_do_not() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4))
    optimizer = build_optimizer(model, Optimizer(weight_decay=0.3))
    decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {model[0].weight: 0.3, model[0].bias: 0.0, model[1].weight: 0.0}


def test_a_frozen_parameter_is_left_out() -> None:
    model = nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(model, Optimizer())
    assert [p for group in optimizer.param_groups for p in group["params"]] == [model.weight]


def test_the_update_is_that_of_the_reference_implementation() -> None:
    torch.manual_seed(0)
    ours, reference = nn.Linear(3, 4, bias=False).double(), nn.Linear(3, 4, bias=False).double()
    reference.load_state_dict(ours.state_dict())
    config = Optimizer(learning_rate=1.0, weight_decay=0.1)
    first = build_optimizer(ours, config)
    second = torch.optim.AdamW(
        reference.parameters(), lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False
    )
    inputs = torch.randn(5, 3, dtype=torch.float64)
    for _ in range(3):
        for model, optimizer in ((ours, first), (reference, second)):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            set_learning_rate(first, 0.01)
            optimizer.step()
    torch.testing.assert_close(ours.weight, reference.weight, rtol=1e-12, atol=1e-12)


def test_muon_leaves_embedding_head_and_norms_to_adamw() -> None:
    model = nn.ModuleDict(
        {"embed": nn.Embedding(8, 4), "hidden": nn.Linear(4, 4), "lm_head": LanguageModelHead(4, 8)}
    )
    optimizer = build_optimizer(model, Optimizer(name="muon"))
    orthogonal = {p: group["orthogonal"] for group in optimizer.param_groups for p in group["params"]}
    assert orthogonal == {
        model["embed"].weight: False,
        model["hidden"].weight: True,
        model["hidden"].bias: False,
        model["lm_head"].weight: False,
    }
