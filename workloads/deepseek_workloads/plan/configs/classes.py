"""What a config.json leaves unsaid, and what it must not say: the classes' own defaults, and the only values
that we compute.

The defaults are those of transformers' configuration classes: a folder of another maker may rely on them.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from deepseek_workloads.plan.configs.int8 import is_int8

_DEEPSEEK = {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "routed_scaling_factor": 2.5,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "n_group": 8,
    "topk_group": 4,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
_MISTRAL = {
    **_LLAMA,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "deepseek_v3": {**_DEEPSEEK, "max_position_embeddings": 4096},
        "deepseek_v32": {**_DEEPSEEK, "max_position_embeddings": 163840},
        "llama": {**_LLAMA, "intermediate_size": 11008, "max_position_embeddings": 2048},
        "mistral": {**_MISTRAL, "sliding_window": 4096},
        "mixtral": {
            **_MISTRAL,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "router_aux_loss_coef": 0.001,
        },
    }
)
# Where a config has the field, it must have this value.
_ONLY: Mapping[str, tuple[str, object]] = MappingProxyType(
    {
        "hidden_act": ("deepseek_v3 deepseek_v32 llama mistral mixtral", "silu"),
        "mlp_bias": ("deepseek_v32 llama", False),
        "rope_interleave": ("deepseek_v3 deepseek_v32", True),
        "scoring_func": ("deepseek_v3 deepseek_v32", "sigmoid"),
        "topk_method": ("deepseek_v3 deepseek_v32", "noaux_tc"),
        "moe_layer_freq": ("deepseek_v3 deepseek_v32", 1),
        "partial_rotary_factor": ("llama mistral mixtral", 1.0),
    }
)


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults of its class. Raises ValueError that names the fields which we do not compute."""
    kind = config["model_type"]
    wrong = list(_not_computed(kind, config))
    if wrong:
        raise ValueError("; ".join(wrong))
    rope = config.get("rope_parameters") or {}
    own_theta = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    return {**DEFAULTS[kind], **own_theta, **config}


def _not_computed(kind: str, config: Mapping[str, Any]) -> Iterator[str]:
    for name, (kinds, only) in _ONLY.items():
        if kind in kinds.split() and config.get(name, only) not in (only, None):
            yield f"{name} is {config[name]!r}; only {only!r} can be loaded"
    layers = config.get("mlp_layer_types")
    if layers is not None:
        dense = list(layers).count("dense")
        if list(layers) != ["dense"] * dense + ["sparse"] * (len(layers) - dense) or dense != config.get(
            "first_k_dense_replace", DEFAULTS[kind].get("first_k_dense_replace")
        ):
            yield "mlp_layer_types: only first_k_dense_replace dense layers before others can be loaded"
    if len(set(config.get("layer_types") or ())) > 1:
        yield "layer_types differ; only layers of one kind of attention can be loaded"
    quantised = config.get("quantization_config")
    if quantised and not _in_blocks(quantised) and not is_int8(quantised):
        yield (
            f"quantization_config is {quantised!r}; only fp8 in e4m3 with weight_block_size [128, 128], and "
            "compressed-tensors' pack-quantized with weights of 8 bits, symmetric, by channel, can be "
            "loaded: convert it to bfloat16"
        )


def _in_blocks(quantised: object) -> bool:
    """As DeepSeek-V3 is published."""
    if not isinstance(quantised, Mapping):
        return False
    found = quantised.get("quant_method"), quantised.get("fmt", "e4m3"), quantised.get("weight_block_size")
    return found == ("fp8", "e4m3", [128, 128])
