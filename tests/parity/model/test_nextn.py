"""Modules for more than the next token, against Hugging Face's decoder layer and the report's equations."""

import pytest
import torch
from hugging_face_oracle import exact, token_ids
from small_architectures import NEXTN
from torch.nn.functional import cross_entropy, rms_norm
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3DecoderLayer,
    DeepseekV3RotaryEmbedding,
)

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.hugging_face_config import config_json

MODULES = NEXTN.num_nextn_predict_layers


def made(architecture: Architecture = NEXTN) -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(architecture).double()
    model.init_weights(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(1 if "norm" in name else 4)
    return model


def by_definition(model: DeepseekV3ForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Equations 21 to 25, token windows cut anew for each module, with the oracle's layer."""
    config = DeepseekV3Config(**config_json(NEXTN), attn_implementation="eager")
    state = model.state_dict()
    hidden = model.model(ids).last
    losses = []
    for index in range(MODULES):
        prefix = f"model.nextn_predict_layers.{index}."
        length = ids.shape[1] - index - 1
        embedded = state["model.embed_tokens.weight"][ids[:, index + 1 :]]
        parts = [
            rms_norm(embedded, (NEXTN.hidden_size,), state[prefix + "enorm.weight"], NEXTN.rms_norm_eps),
            rms_norm(
                hidden[:, :length], (NEXTN.hidden_size,), state[prefix + "hnorm.weight"], NEXTN.rms_norm_eps
            ),
        ]
        joined = torch.cat(parts, dim=-1) @ state[prefix + "eh_proj.weight"].T
        layer = DeepseekV3DecoderLayer(config, NEXTN.num_hidden_layers).double()
        layer.mlp.experts.config._experts_implementation = "eager"
        of_layer = {name.removeprefix(prefix): tensor for name, tensor in state.items() if prefix in name}
        layer.load_state_dict({name: of_layer[name] for name in layer.state_dict()})
        rotation = DeepseekV3RotaryEmbedding(config)(joined, torch.arange(length).unsqueeze(0))
        mask = torch.full((length, length), float("-inf"), dtype=torch.float64).triu(1)[None, None]
        hidden = layer(joined, attention_mask=mask, position_embeddings=rotation)
        normed = rms_norm(
            hidden, (NEXTN.hidden_size,), state[prefix + "shared_head.norm.weight"], NEXTN.rms_norm_eps
        )
        logits = normed @ state["lm_head.weight"].T
        losses.append(cross_entropy(logits.flatten(0, 1), labels[:, index + 1 :].flatten()))
    return NEXTN.mtp_loss_weight * torch.stack(losses).mean()


def test_the_loss_follows_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = made(), token_ids(NEXTN, sequences=2, length=20)

    parts = model.loss(ids)
    with torch.no_grad(), exact(monkeypatch):
        expected = by_definition(model, ids[:, :-1], ids[:, 1:])

    torch.testing.assert_close(parts.auxiliary["mtpLoss"], expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(parts.loss.detach(), parts.lm_loss + parts.auxiliary["mtpLoss"])


def test_every_parameter_of_a_module_is_trained_and_its_mixture_balanced() -> None:
    model, ids = made(), token_ids(NEXTN, sequences=2, length=20)

    parts = model.loss(ids)
    parts.loss.backward()
    model.update_router_bias(parts.expert_counts)

    further = model.model.nextn_predict_layers
    assert parts.expert_counts.shape[0] == len(model.mixtures()) == 2 + MODULES
    assert all(parameter.grad.abs().sum() > 0 for parameter in further.parameters())
    assert all(layer.mlp.gate.e_score_correction_bias.abs().sum() > 0 for layer in further)


def test_a_module_sees_no_token_that_it_has_to_predict() -> None:
    model, ids = made(), token_ids(NEXTN, sequences=1, length=12)
    changed = ids.clone()
    changed[:, 8:] = (ids[:, 8:] + 1) % NEXTN.vocab_size

    def normed(tokens: torch.Tensor) -> list[torch.Tensor]:
        return [output.normed for output in model.model.look_further(tokens, model.model(tokens).last)]

    for depth, (one, other) in enumerate(zip(normed(ids), normed(changed), strict=True), start=1):
        torch.testing.assert_close(one[:, : 8 - depth], other[:, : 8 - depth])


def test_in_evaluation_and_for_logits_the_modules_take_no_part() -> None:
    model, ids = made(), token_ids(NEXTN, sequences=2, length=20)
    without = DeepseekV3ForCausalLM(NEXTN.model_copy(update={"num_nextn_predict_layers": 0})).double()
    without.load_state_dict({k: v for k, v in model.state_dict().items() if "nextn" not in k})

    model.eval()

    assert model.loss(ids).auxiliary == {}
    torch.testing.assert_close(model(ids), without(ids), atol=0, rtol=0)
