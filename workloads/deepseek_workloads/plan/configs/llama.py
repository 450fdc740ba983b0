"""LlamaForCausalLM, MistralForCausalLM and MixtralForCausalLM: grouped queries, all or the newest tokens,
dense or softmax gates."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture, Attention, MoE
from deepseek_workloads.plan.configs.dropout import dropout_fields, dropout_of
from deepseek_workloads.plan.configs.rope import rope_fields, rope_of

MODEL_TYPES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
}

_SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
)
_OF_TRAINING = ("sequence_balance_loss_weight", "expert_capacity_factor")


def model_type(a: Architecture) -> str | None:
    """None: these classes do not express it."""
    if a.attention.head_gate is not None:
        return None
    sliding = a.attention.kind == "slidingWindow"
    if not (sliding or a.attention.kind == "gqa") or a.num_nextn_predict_layers:
        return None
    if a.moe is not None:
        return "mixtral" if _expressed(a.moe) and not a.attention_bias else None
    if sliding:
        return "mistral" if not a.attention_bias else None
    return "llama"


def fields(a: Architecture) -> dict[str, Any]:
    common = {
        **{name: getattr(a, name) for name in _SAME},
        **rope_fields(a),
        "num_key_value_heads": a.key_value_heads,
        "head_dim": a.head_dim,
        "hidden_act": "silu",
        **dropout_fields(a),
    }
    if model_type(a) == "llama":
        return {**common, "attention_bias": a.attention_bias, "mlp_bias": False}
    window = a.attention.sliding_window if a.attention.kind == "slidingWindow" else None
    return {**common, "sliding_window": window, **(_mixture_fields(a) if a.moe is not None else {})}


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Of a config with every field (`classes.completed`). Raises ValueError."""
    kind = config["model_type"]
    window = config.get("sliding_window") if kind != "llama" else None
    attention = {"kind": "gqa"} if window is None else {"kind": "slidingWindow", "sliding_window": window}
    every = config["num_attention_heads"]
    heads = {
        "num_key_value_heads": config.get("num_key_value_heads") or every,
        "head_dim": config.get("head_dim") or config["hidden_size"] // every,
    }
    same = {name: config[name] for name in _SAME if name in config}
    if "dense_intermediate_size" in config:
        same["intermediate_size"] = config["dense_intermediate_size"]
    return Architecture(
        **same,
        **rope_of(config),
        dropout=dropout_of(config),
        attention=Attention.model_validate(attention | heads),
        attention_bias=bool(config.get("attention_bias", False)),
        moe=_mixture_of(config) if kind == "mixtral" else None,
    )


def _expressed(moe: MoE) -> bool:
    """Mixtral's: softmax, normalised, nothing shared, every layer."""
    return (
        moe.scoring_func == "softmax"
        and moe.norm_topk_prob
        and moe.routed_scaling_factor == 1
        and moe.n_shared_experts == 0
        and moe.first_k_dense_replace == 0
        and moe.topk_group == moe.n_group
    )


def _mixture_fields(a: Architecture) -> dict[str, Any]:
    moe = a.moe
    assert moe is not None
    return {
        "intermediate_size": moe.moe_intermediate_size,
        "dense_intermediate_size": a.intermediate_size,  # of no layer
        "num_local_experts": moe.n_routed_experts,
        "num_experts_per_tok": moe.num_experts_per_tok,
        "router_aux_loss_coef": moe.load_balance_loss_weight,
        **{name: getattr(moe, name) for name in _OF_TRAINING},
    }


def _mixture_of(config: Mapping[str, Any]) -> MoE:
    return MoE(
        scoring_func="softmax",
        n_routed_experts=config["num_local_experts"],
        num_experts_per_tok=config["num_experts_per_tok"],
        moe_intermediate_size=config["intermediate_size"],
        n_shared_experts=0,
        first_k_dense_replace=0,
        routed_scaling_factor=1.0,
        bias_update_speed=0.0,
        load_balance_loss_weight=config.get("router_aux_loss_coef", 0.0),
        **{name: config[name] for name in _OF_TRAINING if name in config},
    )
