"""First weights depend on the seed and on nothing else."""

import math

import pytest
import torch
from small_architectures import BASE
from torch import nn

from deepseek_workloads.contract.architecture import Initialization
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.initialize import initialize


def state(seed: int, *, on_meta_first: bool = False) -> dict[str, torch.Tensor]:
    with torch.device("meta" if on_meta_first else "cpu"):
        model = DeepseekV3ForCausalLM(BASE)
    if on_meta_first:
        model.to_empty(device="cpu")
    model.init_weights(seed)
    return model.state_dict()


def test_the_same_seed_gives_the_same_weights() -> None:
    torch.testing.assert_close(state(1), state(1), atol=0, rtol=0)


def test_another_seed_gives_others() -> None:
    name = "model.layers.1.mlp.experts.down_proj"

    assert not torch.equal(state(1)[name], state(2)[name])


def test_a_model_made_without_memory_gets_the_same_weights() -> None:
    torch.testing.assert_close(state(1, on_meta_first=True), state(1), atol=0, rtol=0)


def test_weights_are_normal_with_the_range_of_the_architecture_and_norms_are_one() -> None:
    weights = state(1)

    assert 0.018 < float(weights["model.embed_tokens.weight"].std()) < 0.022
    assert weights["model.layers.0.self_attn.kv_a_layernorm.weight"].eq(1).all()
    assert weights["model.layers.1.mlp.gate.e_score_correction_bias"].eq(0).all()


def test_tensors_of_one_shape_differ() -> None:
    weights = state(1)

    assert not torch.equal(
        weights["model.layers.1.mlp.experts.down_proj"], weights["model.layers.2.mlp.experts.down_proj"]
    )


def drawn(scheme: str, pattern: str = "*.down_proj*") -> dict[str, torch.Tensor]:
    rule = Initialization.model_validate({"pattern": pattern, "scheme": scheme})
    model = DeepseekV3ForCausalLM(BASE.model_copy(update={"initialization": (rule,)}))
    model.init_weights(1)
    return model.state_dict()


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("scaledNormal", 0.02 / math.sqrt(2 * 3)),
        ("xavierNormal", math.sqrt(2 / (24 + 32))),
        ("xavierUniform", math.sqrt(2 / (24 + 32))),
        ("kaimingNormal", math.sqrt(2 / 24)),
        ("kaimingUniform", math.sqrt(2 / 24)),
    ],
)
def test_matrices_that_match_are_drawn_by_their_scheme_and_others_as_ever(
    scheme: str, deviation: float
) -> None:
    weights, experts = drawn(scheme), drawn(scheme)["model.layers.1.mlp.experts.down_proj"]

    assert float(experts.std()) == pytest.approx(deviation, rel=0.05)
    assert float(experts.mean()) == pytest.approx(0, abs=0.1 * deviation)
    if scheme.endswith("Uniform"):
        assert float(experts.abs().max()) <= math.sqrt(3) * deviation
    torch.testing.assert_close(weights["model.embed_tokens.weight"], state(1)["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [("xavierNormal", math.sqrt(2 / (24 + 32))), ("kaimingNormal", math.sqrt(2 / 32))],
)
def test_gate_and_up_of_an_expert_are_a_matrix_each(scheme: str, deviation: float) -> None:
    experts = drawn(scheme, pattern="*.gate_up_proj")["model.layers.1.mlp.experts.gate_up_proj"]
    assert experts.shape[1:] == (2 * 24, 32)
    assert float(experts.std()) == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [("xavierNormal", math.sqrt(2 / (64 + 48))), ("kaimingNormal", math.sqrt(2 / 48))],
)
def test_a_convolution_is_a_product_over_its_patch(scheme: str, deviation: float) -> None:
    rule = Initialization.model_validate({"pattern": "projection.weight", "scheme": scheme})
    model = nn.ModuleDict({"projection": nn.Conv2d(3, 64, kernel_size=4)})
    initialize(model, BASE.model_copy(update={"initialization": (rule,)}), seed=1)
    assert float(model["projection"].weight.detach().std()) == pytest.approx(deviation, rel=0.05)


def test_norms_are_one_whatever_matches() -> None:
    assert drawn("xavierNormal", pattern="*")["model.norm.weight"].eq(1).all()
