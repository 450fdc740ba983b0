"""Modules whose products have a precision of their own, whatever is computed around them.

What goes into such a module is cast at its border. What comes out is float32, which autocast lowers where it
is multiplied again; only projections whose results meet others in one kernel give them as the others are.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.optimization import PrecisionOverride
from deepseek_workloads.model.causal_lm import DeepseekV3Model
from deepseek_workloads.plan.modules import examples, fitting, outermost
from deepseek_workloads.train.refused import SettingRefused

# What is around the products; with fp8 only those of the layers are in float8.
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}
# Queries, keys and values: kernels of attention take one dtype, and autocast does not know all of them.
_ATTENDED: Final = ("q_proj", "q_b_proj", "k_proj", "v_proj", "kv_b_proj")
_Forward = Callable[..., Any]


def override_precision(model: nn.Module, override: PrecisionOverride) -> None:
    """Products in the modules that the pattern names are in `override.precision`. Raises SettingRefused."""
    dtype = DTYPES[override.precision]
    for name, module in _matching(model, override.modules):
        attended = name.endswith(_ATTENDED)
        module.forward = _in_precision(module.forward, dtype=dtype, attended=attended)


def _matching(model: nn.Module, pattern: str) -> list[tuple[str, nn.Module]]:
    """By shell pattern; of a module and one inside it only the outer."""
    names = [name for name, _ in model.named_modules() if name]
    found = outermost(fitting(names, [pattern]))
    if not found:
        raise SettingRefused(
            f"spec.training.precisionOverrides: {pattern!r}: fits no module of the model: use names such as "
            f"{examples(names)}"
        )
    return [called for name in found for called in _called(name, model.get_submodule(name))]


def _called(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What a pass calls of it: of lists and of an indexer only the parts, and beside the body of the model
    its layers that look further."""
    if isinstance(module, DeepseekV3Model) or type(module).forward is nn.Module.forward:
        for own, child in module.named_children():
            yield from _called(f"{name}.{own}", child)
    else:
        yield name, module


def _in_precision(forward: _Forward, *, dtype: torch.dtype, attended: bool) -> _Forward:
    def call(*arguments: Any, **keywords: Any) -> Any:
        device = next((a.device.type for a in arguments if isinstance(a, Tensor)), "cpu")
        around = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        taken = partial(_taken, exact=dtype == torch.float32, around=around, device=device)
        of_keywords = {name: taken(value) for name, value in keywords.items()}
        with _computing_in(dtype, device):
            given = forward(*map(taken, arguments), **of_keywords)
        if around == dtype:
            return given
        return given.to(around) if attended and around is not None else _to_float32(given)

    return call


def _computing_in(dtype: torch.dtype | None, device: str) -> torch.autocast:
    lowered = dtype not in (None, torch.float32)
    return torch.autocast(device, dtype=dtype if lowered else None, enabled=lowered)


def _taken(value: Any, *, exact: bool, around: torch.dtype | None, device: str) -> Any:
    """What a module is given to do beside its own work (shared experts) keeps the precision around it."""
    if callable(value):

        def work(*arguments: Any) -> Any:
            with _computing_in(around, device):
                return value(*arguments)

        return work
    return _to_float32(value) if exact else value


def _to_float32(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_to_float32, value))
    is_low = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_low else value
