"""The one place that maps our model to and from Hugging Face's: config.json and names of tensors.

Ours has the names of the trained module, in which the experts of a layer are fused; on disk each expert is by
itself. It reads and writes no files.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture, MoE, RopeScaling

ARCHITECTURE_CLASS = "DeepseekV3ForCausalLM"

_FUSED = re.compile(r"^(?P<layer>model\.layers\.\d+\.mlp\.experts)\.(?P<part>gate_up_proj|down_proj)$")
_SINGLE = re.compile(
    r"^(?P<layer>model\.layers\.\d+\.mlp\.experts)\.(?P<expert>\d+)\.(?P<part>gate|up|down)_proj\.weight$"
)
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


def to_hugging_face(
    state: Iterable[tuple[str, Tensor]], *, tied: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors under the names on disk, one by one (views; nothing is copied). A tied head is left out."""
    for name, tensor in state:
        fused = _FUSED.match(name)
        if tied and name == "lm_head.weight":
            continue
        if fused is None:
            yield name, tensor
            continue
        for expert, weight in enumerate(tensor.unbind()):
            prefix = f"{fused['layer']}.{expert}"
            if fused["part"] == "down_proj":
                yield f"{prefix}.down_proj.weight", weight
            else:
                gate, up = weight.chunk(2)
                yield f"{prefix}.gate_proj.weight", gate
                yield f"{prefix}.up_proj.weight", up


def from_hugging_face(tensors: Iterable[tuple[str, Tensor]], *, tied: bool = False) -> dict[str, Tensor]:
    """The state dict of our module. Raises ValueError when an expert lacks a part."""
    state: dict[str, Tensor] = {}
    experts: dict[str, dict[tuple[int, str], Tensor]] = {}
    for name, tensor in tensors:
        single = _SINGLE.match(name)
        if single is None:
            state[name] = tensor
        else:
            experts.setdefault(single["layer"], {})[int(single["expert"]), single["part"]] = tensor
    for layer, parts in experts.items():
        state.update(_fuse(layer, parts))
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


def _fuse(layer: str, parts: Mapping[tuple[int, str], Tensor]) -> dict[str, Tensor]:
    count = 1 + max(expert for expert, _ in parts)
    missing = [
        f"{layer}.{expert}.{part}_proj.weight"
        for expert in range(count)
        for part in ("gate", "up", "down")
        if (expert, part) not in parts
    ]
    if missing:
        raise ValueError(f"{len(missing)} tensors of experts are missing, the first is {missing[0]}")
    return {
        f"{layer}.gate_up_proj": torch.stack(
            [torch.cat([parts[expert, "gate"], parts[expert, "up"]]) for expert in range(count)]
        ),
        f"{layer}.down_proj": torch.stack([parts[expert, "down"] for expert in range(count)]),
    }
