"""Configs and names of tensors go to Hugging Face's form and come back unchanged."""

import pytest
import torch
from small_architectures import ARCHITECTURES, BASE, NEXTN, OWN, PLAIN, SPARSE

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.hugging_face import from_hugging_face, to_hugging_face
from deepseek_workloads.plan.hugging_face_config import architecture_of, config_json
from deepseek_workloads.plan.presets import PRESETS

_TENSORS = {**ARCHITECTURES, **PLAIN, **OWN, "modules for more than the next token": NEXTN, "indexer": SPARSE}
_EVERY = {**_TENSORS, **PRESETS}


@pytest.mark.parametrize("architecture", _EVERY.values(), ids=_EVERY.keys())
def test_a_config_comes_back_as_the_architecture(architecture: Architecture) -> None:
    assert architecture_of(config_json(architecture)) == architecture


def test_the_config_of_the_published_model_is_the_preset() -> None:
    # config.json of deepseek-ai/DeepSeek-V3, without what is about quantisation and code.
    published = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "ep_size": 1,
        "first_k_dense_replace": 3,
        "hidden_act": "silu",
        "hidden_size": 7168,
        "initializer_range": 0.02,
        "intermediate_size": 18432,
        "kv_lora_rank": 512,
        "max_position_embeddings": 163840,
        "model_type": "deepseek_v3",
        "moe_intermediate_size": 2048,
        "moe_layer_freq": 1,
        "n_group": 8,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 61,
        "num_key_value_heads": 128,
        "num_nextn_predict_layers": 1,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "beta_fast": 32,
            "beta_slow": 1,
            "factor": 40,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 4096,
            "type": "yarn",
        },
        "rope_theta": 10000,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": 4,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "v_head_dim": 128,
        "vocab_size": 129280,
    }

    assert architecture_of(published) == PRESETS["deepseek-v3"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"rope_interleave": False}, "rope_interleave"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "'linear'"),
    ],
)
def test_a_config_that_computes_something_else_is_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        architecture_of({**config_json(BASE), **change})


@pytest.mark.parametrize("architecture", _TENSORS.values(), ids=_TENSORS.keys())
def test_tensors_come_back_unchanged(architecture: Architecture) -> None:
    state = DeepseekV3ForCausalLM(architecture).state_dict()

    returned = from_hugging_face(to_hugging_face(state.items(), architecture), architecture)

    torch.testing.assert_close(returned, dict(state), atol=0, rtol=0)


def test_experts_are_single_on_disk() -> None:
    names = dict(to_hugging_face(DeepseekV3ForCausalLM(BASE).state_dict().items(), BASE))

    assert names["model.layers.2.mlp.experts.7.up_proj.weight"].shape == (24, 32)
    assert not [name for name in names if "gate_up_proj" in name]


def test_a_missing_part_of_an_expert_is_named() -> None:
    tensors = dict(to_hugging_face(DeepseekV3ForCausalLM(BASE).state_dict().items(), BASE))
    del tensors["model.layers.1.mlp.experts.3.up_proj.weight"]

    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.experts\.3\.up_proj\.weight"):
        from_hugging_face(tensors.items(), BASE)


def test_modules_for_more_than_the_next_token_lie_behind_the_last_layer_as_published() -> None:
    state = DeepseekV3ForCausalLM(NEXTN).state_dict()
    names = dict(to_hugging_face(state.items(), NEXTN))

    of_second = {name for name in names if name.startswith("model.layers.4.")}
    assert {
        "model.layers.4.enorm.weight",
        "model.layers.4.hnorm.weight",
        "model.layers.4.eh_proj.weight",
        "model.layers.4.shared_head.norm.weight",
        "model.layers.4.shared_head.head.weight",
        "model.layers.4.embed_tokens.weight",
        "model.layers.4.self_attn.kv_b_proj.weight",
        "model.layers.4.mlp.experts.7.up_proj.weight",
    } <= of_second
    assert torch.equal(names["model.layers.4.shared_head.head.weight"], state["lm_head.weight"])


def test_a_model_with_fewer_modules_leaves_the_others_out() -> None:
    state = DeepseekV3ForCausalLM(NEXTN).state_dict()
    plain = NEXTN.model_copy(update={"num_nextn_predict_layers": 0})

    returned = from_hugging_face(to_hugging_face(state.items(), NEXTN), plain)

    assert returned.keys() == DeepseekV3ForCausalLM(plain).state_dict().keys()


def test_what_only_training_needs_is_not_on_disk_and_begins_anew() -> None:
    trained = BASE.model_copy(update={"moe": BASE.moe.model_copy(update={"load_balance_loss_weight": 0.1})})
    state = DeepseekV3ForCausalLM(trained).state_dict()

    names = dict(to_hugging_face(state.items(), trained))

    assert not [name for name in names if "expert_frequency" in name]
    assert from_hugging_face(names.items(), trained).keys() == state.keys()
