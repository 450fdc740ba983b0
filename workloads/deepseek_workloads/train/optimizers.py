"""AdamW with decay on matrices only. It does not know the schedule: whoever steps sets the learning rate."""

import torch
from torch import nn

from deepseek_workloads.contract.run_config import Optimizer


def build_optimizer(model: nn.Module, config: Optimizer) -> torch.optim.AdamW:
    """Decoupled weight decay (arXiv:1711.05101) for tensors of two and more dimensions; norms have none.

    Fused: one kernel for all parameters, on CPU and CUDA, for plain tensors and DTensors.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
