"""The plan's closed form of activations is what a forward pass keeps for its backward pass."""

import pytest
import torch
from small_architectures import ARCHITECTURES, BASE, NEXTN

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.memory import activation_elements_per_token
from deepseek_workloads.plan.presets import PRESETS

_SIZES = {
    "deepseek-v3-tiny": PRESETS["deepseek-v3-tiny"],
    "deepseek-v3-small": PRESETS["deepseek-v3-small"],
    **{
        name: ARCHITECTURES[name]
        for name in ("one query projection", "all layers dense", "two shared experts")
    },
    "modules for more than the next token": NEXTN,
}


def kept_bytes(model: DeepseekV3ForCausalLM, ids: torch.Tensor) -> int:
    """Of all storages that autograd holds, beside the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss(ids).loss
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("architecture", _SIZES.values(), ids=_SIZES.keys())
def test_a_pass_keeps_what_the_plan_says(architecture: Architecture) -> None:
    tokens = 128
    model = DeepseekV3ForCausalLM(architecture)

    kept = kept_bytes(model, torch.zeros(1, tokens + 1, dtype=torch.int64))

    heads = 1 + architecture.num_nextn_predict_layers
    gradient_of_head = 4 * heads * architecture.vocab_size * architecture.hidden_size
    planned = 4 * tokens * activation_elements_per_token(architecture)
    # Small architectures have relatively more of what is too small to be in the formula (indices, scales).
    tolerance = 0.15 if architecture.hidden_size == BASE.hidden_size else 0.05
    assert kept - gradient_of_head == pytest.approx(planned, rel=tolerance)
