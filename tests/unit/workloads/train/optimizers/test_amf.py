"""AMF is its definition, and AdamW where its buffer keeps nothing."""

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.train.optimizers.build import build_optimizer

INPUTS = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def trained(config: Optimizer, *, steps: int = 4) -> Tensor:
    torch.manual_seed(0)
    model = nn.Linear(3, 4, bias=False).double()
    optimizer = build_optimizer(model, config)
    for _ in range(steps):
        optimizer.zero_grad()
        model(INPUTS).square().sum().backward()
        optimizer.step()
    return model.weight.detach()


def test_the_update_is_the_definition() -> None:
    rate, decay, beta1, beta2, eps, mu = 1e-2, 0.1, 0.9, 0.95, 1e-8, 0.8
    torch.manual_seed(0)
    weight = nn.Linear(3, 4, bias=False).double().weight.detach()
    m = v = b = torch.zeros_like(weight)
    for step in range(1, 5):
        gradient = 2 * (INPUTS @ weight.T).T @ INPUTS
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        corrected = (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps)
        b = mu * b + rate * corrected
        weight = weight - rate * decay * weight - b
    config = Optimizer(name="amf", learning_rate=rate, weight_decay=decay, momentum=mu)
    torch.testing.assert_close(trained(config), weight, rtol=1e-9, atol=1e-12)


def test_without_momentum_it_is_adamw() -> None:
    amf = trained(Optimizer(name="amf", learning_rate=1e-2, momentum=0))
    torch.testing.assert_close(amf, trained(Optimizer(learning_rate=1e-2)), rtol=1e-6, atol=1e-9)
