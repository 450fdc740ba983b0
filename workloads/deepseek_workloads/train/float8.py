"""precision fp8: matrix products of the layers in float8, all else in bfloat16, weights kept in float32.

Dynamic scales for each row (torchao's recipe `rowwise_with_gw_hp`, and the same for routed experts): products
of activations and of their gradients are in e4m3, those that make the gradients of weights in bfloat16.
Embedding, head, routers, indexers, gates and vision stay as they are, as DeepSeek-V3 keeps its own
(arXiv:2412.19437, section 3.3.1), and so do matrices with sizes that are no multiples of 16.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torchao.float8 import Float8LinearConfig, convert_to_float8_training
from torchao.float8.float8_linear import Float8Linear

from deepseek_workloads.contract.optimization import PrecisionOverride
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.float8 import CAPABILITY, fits_float8, float8_grouped_linear, has_float8
from deepseek_workloads.plan.modules import fitting
from deepseek_workloads.train.refused import SettingRefused
from deepseek_workloads.train.seen_parameters import seeing

_LEFT: Final = ("*indexer*", "*vision*", "*projector*")  # an indexer chooses, and is trained for itself
_COMPUTE: Final = torch.bfloat16


def use_float8(
    model: DeepseekV3ForCausalLM, overrides: list[PrecisionOverride], *, device: torch.device
) -> None:
    """In place; names and kinds of parameters stay. Modules that `overrides` name keep their own precision.
    Raises SettingRefused."""
    if device.type == "cuda" and not has_float8(device):
        raise SettingRefused(
            f"spec.training.precision: fp8: {torch.cuda.get_device_name(device)} has compute capability "
            f"{'.'.join(map(str, torch.cuda.get_device_capability(device)))}, and products in float8 with "
            f"scales for rows need {'.'.join(map(str, CAPABILITY))} or more: use bf16"
        )
    chosen = _chosen(model, [override.modules for override in overrides])
    if not chosen:
        raise SettingRefused(
            "spec.training.precision: fp8: fits no matrix of the model: both of its sizes must be multiples "
            "of 16: use bf16"
        )
    config = replace(
        Float8LinearConfig.from_recipe_name("rowwise_with_gw_hp"), emulate=not has_float8(device)
    )
    convert_to_float8_training(model, config=config, module_filter_fn=lambda _, name: name in chosen)
    for name in chosen:
        module = model.get_submodule(name)
        if isinstance(module, RoutedExperts):
            module.linear = float8_grouped_linear
        elif isinstance(module, Float8Linear):
            module.forward = _in_bfloat16(module)


def _chosen(model: nn.Module, kept: list[str]) -> set[str]:
    names = [name for name, module in model.named_modules() if _can_be_float8(module)]
    parts = [name for name, _ in model.named_modules() if name]
    left = fitting(parts, [*_LEFT, *kept])
    return {name for name in names if not any(name == part or name.startswith(f"{part}.") for part in left)}


def _can_be_float8(module: nn.Module) -> bool:
    if isinstance(module, RoutedExperts):
        return fits_float8(*module.gate_up_proj.shape[1:], *module.down_proj.shape[1:])
    # Not those of a class of its own (head, gates): they do something else than the product.
    return type(module) is nn.Linear and fits_float8(module.in_features, module.out_features)


def _in_bfloat16(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """torchao takes weights and inputs of one dtype; ours are float32 where autocast lowers the inputs."""
    forward: Callable[[Tensor], Tensor] = module.forward

    def call(inputs: Tensor) -> Tensor:
        lowered = {name: p.to(_COMPUTE) for name, p in module.named_parameters(recurse=False)}
        with seeing(module, lowered), torch.autocast(inputs.device.type, enabled=False):
            return forward(inputs.to(_COMPUTE))

    return call
