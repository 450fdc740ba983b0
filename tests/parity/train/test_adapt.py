"""What is put around modules changes memory and rounding, and nothing else."""

import pytest
import torch
from torch import Tensor
from training_cases import ARCHITECTURE, SEEING

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.objective import Quantisation
from deepseek_workloads.contract.optimization import PrecisionOverride
from deepseek_workloads.model.block import FeedForward
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.experts import RoutedExperts
from deepseek_workloads.plan.modules import gated_networks, holding_matrices, linear_names, module_names
from deepseek_workloads.train.adapt import checkpoint_activations
from deepseek_workloads.train.precision import override_precision
from deepseek_workloads.train.quantise import quantised_modules
from deepseek_workloads.train.refused import SettingRefused

IDS = torch.randint(0, 64, (2, 17), generator=torch.Generator().manual_seed(3))


def model() -> DeepseekV3ForCausalLM:
    made = DeepseekV3ForCausalLM(ARCHITECTURE)
    made.init_weights(1)
    return made


def gradients(made: DeepseekV3ForCausalLM) -> dict[str, Tensor]:
    made.loss(IDS).loss.backward()
    return {name: p.grad for name, p in made.named_parameters() if p.grad is not None}


class Kept:
    """Bytes that the forward pass keeps for the backward pass."""

    def __init__(self) -> None:
        self.size = 0

    def pack(self, tensor: Tensor) -> Tensor:
        self.size += tensor.nbytes
        return tensor


def kept_bytes(made: DeepseekV3ForCausalLM) -> int:
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        made.loss(IDS)
    return kept.size


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_recomputed_layers_have_the_same_gradients_to_the_last_bit(mode: str) -> None:
    plain, recomputed = model(), model()
    checkpoint_activations(recomputed.layers(), mode)  # type: ignore[arg-type]
    expected, found = gradients(plain), gradients(recomputed)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


def test_full_recomputation_keeps_less_than_half() -> None:
    recomputed = model()
    checkpoint_activations(recomputed.layers(), "full")
    assert kept_bytes(recomputed) < kept_bytes(model()) / 2


def test_a_layer_of_its_own_precision_keeps_its_parameters_and_the_run_its_own() -> None:
    exact, mixed = model(), model()
    override_precision(mixed, PrecisionOverride(modules="model.layers.0", precision="fp32"))
    seen: dict[str, torch.dtype] = {}
    for index, layer in enumerate(mixed.model.layers):
        layer.self_attn.o_proj.register_forward_hook(
            lambda _module, _inputs, output, index=index: seen.update({f"{index}": output.dtype})
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed.loss(IDS)
    assert seen == {"0": torch.float32, "1": torch.bfloat16}
    assert list(mixed.state_dict()) == list(exact.state_dict())


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(SettingRefused, match=r"model\.layer\.0"):
        override_precision(model(), PrecisionOverride(modules="model.layer.0", precision="fp32"))


@pytest.mark.parametrize("architecture", [ARCHITECTURE, SEEING], ids=["text", "images"])
def test_the_names_that_a_job_is_checked_against_are_those_of_the_model(architecture: Architecture) -> None:
    made = DeepseekV3ForCausalLM(architecture)
    holding = [
        name for name, module in made.named_modules() if name and any(True for _ in module.parameters())
    ]
    assert sorted(module_names(architecture)) == sorted(holding)
    linear = [name for name, module in made.named_modules() if type(module) is torch.nn.Linear]
    assert sorted(linear_names(architecture)) == sorted(linear)
    networks = [
        name for name, module in made.named_modules() if isinstance(module, FeedForward | RoutedExperts)
    ]
    assert sorted(gated_networks(architecture)) == sorted(networks)
    everything = Quantisation(modules=["*"])
    assert sorted(holding_matrices(architecture)) == sorted(
        name for name, _ in quantised_modules(made, everything)
    )
