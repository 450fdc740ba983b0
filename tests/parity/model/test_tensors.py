"""The plan's tensors are the model's, by name, shape and number: estimates rest on it."""

import pytest
import torch
from small_architectures import ARCHITECTURES, NEXTN, OWN, PLAIN, SEEING, SPARSE

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.estimate import parameters
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.tensors import ROUTER_BIAS, parameter_shapes

_EVERY = {
    **ARCHITECTURES,
    **PLAIN,
    **OWN,
    "modules for more than the next token": NEXTN,
    "indexer": SPARSE,
    "vision": SEEING,
    **PRESETS,
}


def model_without_memory(architecture: Architecture) -> DeepseekV3ForCausalLM:
    with torch.device("meta"):
        return DeepseekV3ForCausalLM(architecture)


@pytest.mark.parametrize("architecture", _EVERY.values(), ids=_EVERY.keys())
def test_parameters_are_those_of_the_plan(architecture: Architecture) -> None:
    model = model_without_memory(architecture)

    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

    assert shapes == parameter_shapes(architecture)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters(architecture)


@pytest.mark.parametrize("architecture", _EVERY.values(), ids=_EVERY.keys())
def test_the_only_buffers_that_inference_needs_are_the_router_biases(architecture: Architecture) -> None:
    model = model_without_memory(architecture)

    moe = architecture.moe
    mixtures = [] if moe is None or moe.scoring_func != "sigmoid" else moe_layers(architecture)
    of_inference = [name for name, _ in model.named_buffers() if not name.endswith(".expert_frequency")]
    assert of_inference == [f"{name}{ROUTER_BIAS}" for name in mixtures]


def moe_layers(architecture: Architecture) -> list[str]:
    dense, layers = architecture.moe.first_k_dense_replace, architecture.num_hidden_layers
    modules = architecture.num_nextn_predict_layers
    names = [f"model.layers.{index}" for index in range(dense, layers)]
    return names + [f"model.nextn_predict_layers.{index}" for index in range(modules)]
