"""From the run's settings to an optimizer over the parameters that are trained."""

from typing import Any

import torch
from torch import nn

from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.head import LanguageModelHead
from deepseek_workloads.model.vision import PatchEmbeddings
from deepseek_workloads.train.optimizers.amf import AMF
from deepseek_workloads.train.optimizers.muon import Muon
from deepseek_workloads.train.user_code import load_optimizer

_FUSED_DEVICES = ("cpu", "cuda")  # elsewhere the foreach form


def build_optimizer(model: nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """Decoupled weight decay (arXiv:1711.05101) for tensors of two and more dimensions; norms have none.

    AdamW's part is one fused kernel for all parameters where the device has one, for plain tensors and
    DTensors.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    vectors: dict[str, Any] = {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}
    matrices: dict[str, Any] = {
        "params": [p for p in trained if p.ndim >= 2],
        "weight_decay": config.weight_decay,
    }
    common: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.beta1, config.beta2),
        "eps": config.epsilon,
    }
    if config.function is not None:
        groups = [{**group, "lr": config.learning_rate} for group in _filled(matrices, vectors)]
        return load_optimizer(config.function, groups, config)
    if config.name == "amf":
        return AMF(_filled(matrices, vectors), momentum=config.momentum_or(AMF.MOMENTUM), **common)
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in trained)
    common |= {"fused": True} if fused else {"foreach": True}
    if config.name == "muon":
        ends = _of_ends(model)
        hidden = {**matrices, "params": [p for p in matrices["params"] if id(p) not in ends]}
        outer = {**matrices, "params": [p for p in matrices["params"] if id(p) in ends]}
        return Muon(
            orthogonal=_filled(hidden),
            others=_filled(outer, vectors),
            momentum=config.momentum_or(Muon.MOMENTUM),
            pairs={id(each.gate_up_proj) for each in model.modules() if isinstance(each, RoutedExperts)},
            **common,
        )
    return torch.optim.AdamW(_filled(matrices, vectors), **common)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _filled(*groups: dict[str, Any]) -> list[dict[str, Any]]:
    return [group for group in groups if group["params"]]


def _of_ends(model: nn.Module) -> set[int]:
    """Embedding and head are tables with a row a token, and images have theirs: orthogonal updates are for
    what lies between."""
    ends = (nn.Embedding, LanguageModelHead, PatchEmbeddings)
    return {
        id(parameter)
        for module in model.modules()
        if isinstance(module, ends)
        for parameter in module.parameters()
    }
