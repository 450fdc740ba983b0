"""Quantisation-aware training: products see weights as a quantised model will have them, gradients do not.

Symmetric, rounded to nearest: int8 with a scale for each output row, int4 with one for each group of a row.
The gradient passes the rounding unchanged (Bengio et al. 2013, arXiv:1308.3432). An export has the rounded
values, of int8 as integers with scales. Routers stay as they are: a rounded one would choose other experts.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.objective import Quantisation
from deepseek_workloads.export.packed_int8 import can_be_packed
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.model.head import LanguageModelHead
from deepseek_workloads.model.integers import to_integers
from deepseek_workloads.model.router import Router
from deepseek_workloads.plan.configs.own import MODEL_TYPE
from deepseek_workloads.plan.hugging_face_config import model_type_of
from deepseek_workloads.plan.modules import examples, fitting
from deepseek_workloads.train.refused import SettingRefused
from deepseek_workloads.train.seen_parameters import seeing

Bits = Literal[4, 8]
GROUP: Final = 32  # columns of a row that share a scale in int4
_WEIGHTS_OF_HEADS: Final = ".indexer.weights_proj"


def quantised(weight: Tensor, bits: Bits) -> Tensor:
    """[..., out, in] -> the same shape and dtype, each value one of 2**bits - 1 multiples of its scale."""
    columns = weight.shape[-1]
    group = GROUP if bits == 4 and columns % GROUP == 0 else columns
    whole, scale = to_integers(weight.reshape(*weight.shape[:-1], columns // group, group), bits)
    return (whole * scale).flatten(-2).to(weight.dtype)


def quantise_weights(model: nn.Module, config: Quantisation) -> None:
    """From here on, forward passes of the modules that the patterns name see rounded matrices. Raises
    SettingRefused."""
    modules = [module for _, module in quantised_modules(model, config)]
    if not modules:
        raise SettingRefused(
            f"spec.training.quantisation.modules: {config.modules}: fit no module with matrices: use "
            f"patterns of names such as {examples(name for name, _ in model.named_modules() if name)}"
        )
    for module in modules:
        module.forward = _with_rounded_weights(module, config.bits)


def quantised_modules(model: nn.Module, config: Quantisation) -> Iterator[tuple[str, nn.Module]]:
    """Modules with matrices of their own whose names fit."""
    for name, module in model.named_modules():
        if isinstance(module, Router) or not _matrices(module):
            continue
        if fitting([name], config.modules):
            yield name, module


def _matrices(module: nn.Module) -> list[str]:
    return [name for name, p in module.named_parameters(recurse=False) if p.ndim >= 2]


def _with_rounded_weights(module: nn.Module, bits: Bits) -> Callable[..., Any]:
    forward, names = module.forward, _matrices(module)

    def call(*arguments: Any, **keywords: Any) -> Any:
        rounded = {
            name: weight + (quantised(weight.detach(), bits) - weight.detach())
            for name, weight in module.named_parameters(recurse=False)
            if name in names
        }
        with seeing(module, rounded):
            return forward(*arguments, **keywords)

    return call


def stored_as_int8(model: nn.Module, config: Quantisation, architecture: Architecture) -> set[str]:
    """Of the matrices that training rounds to 8 bits those that an export holds as int8: of linear layers
    and of routed experts. Others have their rounded values there, since readers of the format do not take
    them: head, embedding, the indexer's weights of heads, experts under names of our own, and rows that are
    no multiple of what is packed together."""
    if config.bits != 8:
        return set()
    return {
        f"{name}.{own}"
        for name, module in quantised_modules(model, config)
        if _is_stored_as_int8(name, module, architecture)
        for own in _matrices(module)
    }


def _is_stored_as_int8(name: str, module: nn.Module, architecture: Architecture) -> bool:
    if not all(can_be_packed(module.get_parameter(own)) for own in _matrices(module)):
        return False
    if isinstance(module, RoutedExperts):
        return model_type_of(architecture) != MODEL_TYPE
    kept = isinstance(module, LanguageModelHead) or name.endswith(_WEIGHTS_OF_HEADS)
    return isinstance(module, nn.Linear) and not kept


@torch.no_grad()
def round_state(
    model: nn.Module, state: dict[str, Tensor], config: Quantisation, *, but: Collection[str] = ()
) -> dict[str, Tensor]:
    """A whole state dict with the matrices as the training saw them, all `but` those rounded later."""
    names = {
        f"{name}.{own}" for name, module in quantised_modules(model, config) for own in _matrices(module)
    }.difference(but)
    return {name: quantised(value, config.bits) if name in names else value for name, value in state.items()}
