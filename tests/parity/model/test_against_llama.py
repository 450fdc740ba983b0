"""Our models with keys and values of their own compute what Llama, Mistral and Mixtral compute."""

import pytest
import torch
from hugging_face_oracle import assert_same_gradients, token_ids
from small_architectures import PLAIN
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.hugging_face_config import config_json

every = pytest.mark.parametrize("architecture", PLAIN.values(), ids=PLAIN.keys())


def pair(architecture: Architecture) -> tuple[DeepseekV3ForCausalLM, torch.nn.Module]:
    ours = DeepseekV3ForCausalLM(architecture)
    ours.init_weights(3)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            elif "embed" not in name:
                parameter *= 3
    config = config_json(architecture)
    oracle = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager")
    if architecture.moe is not None:
        oracle.set_experts_implementation("eager")
    oracle.load_state_dict(ours.state_dict(), strict=True)
    assert type(oracle).__name__ == config["architectures"][0]
    return ours, oracle


@every
def test_logits(architecture: Architecture) -> None:
    ours, oracle = pair(architecture)
    ids = token_ids(architecture, sequences=2, length=40)

    with torch.no_grad():
        torch.testing.assert_close(ours(ids), oracle(ids).logits, atol=1e-4, rtol=1e-4)


@every
def test_loss_and_every_gradient(architecture: Architecture) -> None:
    ours, oracle = pair(architecture)
    ids = token_ids(architecture, sequences=3, length=33)

    parts = ours.loss(ids)
    parts.loss.backward()
    expected = cross_entropy(oracle(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
    expected.backward()

    torch.testing.assert_close(parts.lm_loss, expected.detach(), atol=1e-6, rtol=1e-5)
    assert_same_gradients(ours, oracle, atol=1e-5, rtol=1e-4)
