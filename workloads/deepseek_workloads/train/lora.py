"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): beside frozen matrices two small ones are trained.

The product is W x + (alpha / rank) B A x with A [rank, in] and B [out, rank], which begins at zero: the first
step sees the model as it was. An export has the products merged into W and nothing else.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.objective import Lora
from deepseek_workloads.plan.modules import examples, fitting
from deepseek_workloads.train.refused import SettingRefused

A, B = "lora_A", "lora_B"


def add_lora(model: nn.Module, config: Lora) -> None:
    """Freezes the model and adds the matrices, without values. Raises SettingRefused."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    # Not those of a class of its own (`HeadGates`): they give something else than the product.
    linear = {name: module for name, module in model.named_modules() if type(module) is nn.Linear}
    targets = fitting(linear, config.targets)
    if not targets:
        raise SettingRefused(
            f"spec.training.lora.targets: {config.targets}: fit no matrix of the model: use patterns of "
            f"names such as {examples(linear)}"
        )
    for module in (linear[target] for target in targets):
        weight = module.weight
        for name, shape in ((A, (config.rank, module.in_features)), (B, (module.out_features, config.rank))):
            fresh = torch.empty(shape, device=weight.device, dtype=weight.dtype)
            module.register_parameter(name, nn.Parameter(fresh))
        module.forward = _adapted(module, config.scale)  # type: ignore[method-assign, assignment]


def merge(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A whole state dict with each product added to its matrix, in float32; the added matrices are gone."""
    merged = {name: value for name, value in state.items() if not name.endswith((A, B))}
    for name, low in state.items():
        if name.endswith(A):
            module = name.removesuffix(A)
            weight = state[f"{module}weight"]
            product = state[f"{module}{B}"].float() @ low.float() * scale
            merged[f"{module}weight"] = (weight.float() + product).to(weight.dtype)
    return merged


def _adapted(module: nn.Linear, scale: float) -> Callable[[Tensor], Tensor]:
    def forward(inputs: Tensor) -> Tensor:
        low: Any = F.linear(inputs, module.get_parameter(A))
        added: Tensor = F.linear(low, module.get_parameter(B)) * scale
        return F.linear(inputs, module.weight, module.bias) + added

    return forward
