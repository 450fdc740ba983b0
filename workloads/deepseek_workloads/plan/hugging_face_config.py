"""config.json of Hugging Face's DeepseekV3 from and to our Architecture. Pure; it knows no tensors."""

from collections.abc import Mapping
from typing import Any

from deepseek_workloads.contract.architecture import Architecture, MoE, RopeScaling

ARCHITECTURE_CLASS = "DeepseekV3ForCausalLM"

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
    "rope_theta",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
    "attention_bias",
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
)


def config_json(
    architecture: Architecture,
    *,
    dtype: str = "float32",
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> dict[str, Any]:
    """The content of config.json, in the spelling of the published DeepSeek-V3."""
    a, scaling = architecture, architecture.rope_scaling
    return {
        "architectures": [ARCHITECTURE_CLASS],
        "model_type": "deepseek_v3",
        **{name: getattr(a, name) for name in _SAME},
        **{name: getattr(a.moe, name) for name in _SAME_OF_MOE},
        "num_key_value_heads": a.num_attention_heads,
        "rope_scaling": None if scaling is None else {"type": "yarn", **scaling.model_dump()},
        "rope_interleave": True,
        "hidden_act": "silu",
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "aux_loss_alpha": a.moe.sequence_balance_loss_weight,
        "seq_aux": True,
        "moe_layer_freq": 1,
        "num_nextn_predict_layers": 0,
        "attention_dropout": 0.0,
        "use_cache": True,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
        "torch_dtype": dtype,
    }


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The inverse of `config_json`, also for configs written by others. Raises ValueError (pydantic's, or for
    what we do not compute the same way)."""
    if config.get("model_type") != "deepseek_v3":
        raise ValueError(f"model_type is {config.get('model_type')!r}; only 'deepseek_v3' can be loaded")
    if not config.get("rope_interleave", True):
        raise ValueError("rope_interleave is false; only interleaved rotary positions are supported")
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    kind = rope.get("type") or rope.get("rope_type") or "default"
    if kind not in ("default", "yarn"):
        raise ValueError(f"rope type {kind!r} is not supported; only 'default' and 'yarn' are")
    fields = {name: config[name] for name in _SAME if name in config}
    fields.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    moe = {name: config[name] for name in _SAME_OF_MOE if name in config}
    if "aux_loss_alpha" in config:
        moe["sequence_balance_loss_weight"] = config["aux_loss_alpha"]
    scaling = {name: rope[name] for name in RopeScaling.model_fields if name in rope}
    return Architecture(
        **fields,
        rope_scaling=RopeScaling(**scaling) if kind == "yarn" else None,
        moe=MoE(**moe),
    )
