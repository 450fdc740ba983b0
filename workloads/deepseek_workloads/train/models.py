"""The model that a run trains, laid out over its ranks: ours, or the one of a user's function."""

from functools import partial

import torch
from torch import nn

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.train.adapt import adapt_model, checkpoint_activations
from deepseek_workloads.train.compile import compile_layers, configure_compiler
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.parallelise import ParallelModel, parallelise, parallelise_whole
from deepseek_workloads.train.precision import DTYPES
from deepseek_workloads.train.refused import SettingRefused
from deepseek_workloads.train.registered import MODEL_FIELD, ModelConfig, RegisteredModel
from deepseek_workloads.train.user_code import load_model


def model_of(run: TrainingRun, group: Group, *, compiled: bool = False) -> ParallelModel:
    """A collective. Ours has no values yet, a user's has its first ones. `compiled`: the layers of ours are.
    Raises SettingRefused."""
    training = run.training
    if run.model_function is not None:
        model = _registered(run, run.model_function)
        return parallelise_whole(model, training.parallelism, precision=training.precision, group=group)
    return parallelise(
        run.architecture,
        training.parallelism,
        precision=training.precision,
        group=group,
        adapt=partial(_adapt, run=run, device=group.device, compiled=compiled),
        precision_varies=bool(training.precision_overrides),
    )


def _adapt(model: DeepseekV3ForCausalLM, *, run: TrainingRun, device: torch.device, compiled: bool) -> None:
    training = run.training
    adapt_model(model, training, device=device)
    if compiled:
        configure_compiler(run)
        compile_layers(model.layers(), shared_experts=training.parallelism.expert_parallel_degree > 1)


def _registered(run: TrainingRun, function: str) -> RegisteredModel:
    """Made on the CPU, with the same random numbers on every rank."""
    torch.manual_seed(run.data.seed)
    config = ModelConfig(
        architecture=run.architecture,
        vocab_size=run.architecture.vocab_size,
        sequence_length=run.data.sequence_length,
        dtype=DTYPES[run.training.precision],
    )
    network = load_model(function, config)
    _require_float32(network, function)
    model = RegisteredModel(network, run.architecture, function=function)
    recomputed = run.training.activation_checkpointing
    if recomputed != "none" and not model.layers():
        raise SettingRefused(
            f"spec.training.activationCheckpointing: {recomputed}: {MODEL_FIELD} {function!r} names no "
            "layers to compute again: give its module `layers`, an nn.ModuleList, or use none"
        )
    checkpoint_activations(model.layers(), recomputed)
    return model


def _require_float32(network: nn.Module, function: str) -> None:
    for name, parameter in network.named_parameters():
        if parameter.dtype != torch.float32:
            raise SettingRefused(
                f"{MODEL_FIELD}: {function!r}: its parameter {name} is {parameter.dtype}: must be "
                "torch.float32: spec.training.precision says what passes compute in"
            )
