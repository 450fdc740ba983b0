"""DeepseekV3ForCausalLM and DeepseekV32ForCausalLM: latent attention, in the second with an indexer, and
sigmoid gates; modules for more than the next token behind the layers."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture, Indexer, MoE
from deepseek_workloads.plan.configs.dropout import dropout_fields, dropout_of
from deepseek_workloads.plan.configs.rope import rope_fields, rope_of

MODEL_TYPES = {"deepseek_v3": "DeepseekV3ForCausalLM", "deepseek_v32": "DeepseekV32ForCausalLM"}

_SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
    "attention_bias",
    "num_nextn_predict_layers",
    "mtp_loss_weight",
)
_SAME_OF_MOE = (
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "n_group",
    "topk_group",
    "routed_scaling_factor",
    "norm_topk_prob",
    "first_k_dense_replace",
    "bias_update_speed",
    "load_balance_loss_weight",
    "expert_capacity_factor",
)
_SAME_OF_INDEXER = ("index_n_heads", "index_head_dim", "index_topk")
_INDEXER_OF_TRAINING = ("stage", "loss_weight")


def model_type(a: Architecture) -> str | None:
    """None: these classes do not express it."""
    moe = a.moe
    if a.attention.head_gate is not None:
        return None
    if not a.latent or moe is None or moe.scoring_func != "sigmoid" or moe.n_shared_experts == 0:
        return None
    return "deepseek_v3" if a.indexer is None else "deepseek_v32"


def fields(a: Architecture) -> dict[str, Any]:
    """In the spelling of the published models."""
    moe = a.moe
    assert moe is not None
    return {
        **{name: getattr(a, name) for name in _SAME},
        **{name: getattr(moe, name) for name in _SAME_OF_MOE},
        **_indexer_fields(a.indexer),
        **rope_fields(a),
        "num_key_value_heads": a.num_attention_heads,
        "rope_interleave": True,
        "hidden_act": "silu",
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "aux_loss_alpha": moe.sequence_balance_loss_weight,
        "seq_aux": True,
        "moe_layer_freq": 1,
        **dropout_fields(a),
    }


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Of a config with every field (`classes.completed`). Raises ValueError."""
    moe = {name: config[name] for name in _SAME_OF_MOE if name in config}
    if "aux_loss_alpha" in config:
        moe["sequence_balance_loss_weight"] = config["aux_loss_alpha"]
    same = {name: config[name] for name in _SAME if name in config}
    indexer = _indexer_of(config) if config["model_type"] == "deepseek_v32" else None
    return Architecture(
        **same, **rope_of(config), dropout=dropout_of(config), indexer=indexer, moe=MoE(**moe)
    )


def _indexer_fields(indexer: Indexer | None) -> dict[str, Any]:
    if indexer is None:
        return {}
    same = {name: getattr(indexer, name) for name in _SAME_OF_INDEXER}
    return same | {f"indexer_{name}": getattr(indexer, name) for name in _INDEXER_OF_TRAINING}


def _indexer_of(config: Mapping[str, Any]) -> Indexer:
    same = {name: config[name] for name in _SAME_OF_INDEXER if name in config}
    ours = {name: config[f"indexer_{name}"] for name in _INDEXER_OF_TRAINING if f"indexer_{name}" in config}
    return Indexer.model_validate(same | ours)
