"""The plan's tensors are the model's, by name, shape and number: estimates rest on it."""

import pytest
import torch
from small_architectures import ARCHITECTURES

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.estimate import parameters
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.tensors import ROUTER_BIAS, parameter_shapes

_EVERY = {**ARCHITECTURES, **PRESETS}


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
def test_the_only_buffers_are_the_router_biases(architecture: Architecture) -> None:
    model = model_without_memory(architecture)

    assert [name for name, _ in model.named_buffers()] == [
        f"model.layers.{index}{ROUTER_BIAS}"
        for index in range(architecture.moe.first_k_dense_replace, architecture.num_hidden_layers)
    ]
