"""What is put around a model's modules before it is spread over ranks: recomputation, numbers of their own.

Modules keep their class and their parameters' names: only `forward` is wrapped, inside the hooks of shards.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from deepseek_workloads.contract.run_config import Training
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import LanguageModelHead
from deepseek_workloads.train.freeze import freeze
from deepseek_workloads.train.lora import add_lora
from deepseek_workloads.train.precision import override_precision
from deepseek_workloads.train.quantise import quantise_weights
from deepseek_workloads.train.user_code import load_loss

_aten = torch.ops.aten
# What costs most to compute again: the products, and attention. Norms, rotations and gates are made anew.
_KEPT_OPERATIONS = {
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten._grouped_mm.default,
    _aten._scaled_mm.default,
    _aten._scaled_grouped_mm_v2.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.torch_attn._varlen_attn.default,  # `model.causal` imports what declares it
}
# Experts that are a unit of shards inside a layer tell the profiler what they do, and do other things when
# the layer is computed again: torch would take that for another computation.
_FOR_THE_PROFILER = (
    torch.ops.profiler._record_function_enter_new.default,
    torch.ops.profiler._record_function_exit._RecordFunction,
)
_Forward = Callable[..., Any]


def adapt_model(model: DeepseekV3ForCausalLM, training: Training, *, device: torch.device) -> None:
    """`device`: where the model will compute. Raises SettingRefused."""
    freeze(model, training.freeze or [])
    if training.precision == "fp8":
        from deepseek_workloads.train.float8 import use_float8  # torchao costs a second to import

        use_float8(model, training.precision_overrides, device=device)
    if training.lora is not None:
        add_lora(model, training.lora)
    if training.quantisation is not None and training.quantisation.mode == "aware":
        quantise_weights(model, training.quantisation)
    if training.loss_function is not None and isinstance(model.lm_head, LanguageModelHead):
        model.lm_head.loss = load_loss(training.loss_function)
    for override in training.precision_overrides:
        override_precision(model, override)
    checkpoint_activations([*model.layers(), *model.vision_layers()], training.activation_checkpointing)


def checkpoint_activations(layers: Iterable[nn.Module], mode: Literal["none", "selective", "full"]) -> None:
    """`full`: of each layer only its input is kept for the backward pass. `selective`: also the results of
    its products and of attention, so that only what is cheap is computed twice."""
    if mode == "none":
        return
    if mode == "selective":
        SAC_IGNORED_OPS.update(_FOR_THE_PROFILER)
    for layer in layers:
        _wrap(layer, partial(_recomputed, selective=mode == "selective"))


def _wrap(module: nn.Module, wrapper: Callable[[_Forward], _Forward]) -> None:
    module.forward = wrapper(module.forward)


def _recomputed(forward: _Forward, *, selective: bool) -> _Forward:
    contexts = partial(create_selective_checkpoint_contexts, _policy)

    def call(*arguments: Any, **keywords: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **keywords)
        if selective:
            return checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts, **keywords)
        return checkpoint(forward, *arguments, use_reentrant=False, **keywords)

    return call


def _policy(_context: Any, operation: Any, *_arguments: Any, **_keywords: Any) -> CheckpointPolicy:
    kept = operation in _KEPT_OPERATIONS
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
