"""The tensors of a DeepSeek-V3 model, by name and shape, from its architecture alone.

The names are those of the trained module (`model.causal_lm`), where the experts of a layer are fused as in
Hugging Face's memory layout. It knows nothing of dtypes, devices or sharding.
"""

from collections.abc import Iterator
from math import prod

from deepseek_workloads.contract.architecture import Architecture

Shape = tuple[int, ...]
ROUTED_EXPERTS = ".mlp.experts."
ROUTER_BIAS = ".mlp.gate.e_score_correction_bias"  # a buffer: moved by the balancing rule, not by gradients


def parameter_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Every trained tensor once (a tied head is not listed), in the order of the module."""
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": _embedding(architecture)}
    for index in range(architecture.num_hidden_layers):
        shapes.update(layer_shapes(architecture, index))
    shapes["model.norm.weight"] = (architecture.hidden_size,)
    if not architecture.tie_word_embeddings:
        shapes["lm_head.weight"] = _embedding(architecture)
    return shapes


def layer_shapes(architecture: Architecture, index: int) -> dict[str, Shape]:
    """The trained tensors of decoder layer `index`."""
    hidden = architecture.hidden_size
    prefix = f"model.layers.{index}"
    shapes = {f"{prefix}.self_attn.{name}": shape for name, shape in _attention(architecture)}
    if index < architecture.moe.first_k_dense_replace:
        shapes.update(_mlp(f"{prefix}.mlp", hidden, architecture.intermediate_size))
    else:
        shapes.update(_mixture(f"{prefix}.mlp", architecture))
    shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
    shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
    return shapes


def elements(shapes: dict[str, Shape]) -> int:
    return sum(map(prod, shapes.values()))


def _embedding(architecture: Architecture) -> Shape:
    return (architecture.vocab_size, architecture.hidden_size)


def _attention(a: Architecture) -> Iterator[tuple[str, Shape]]:
    queries = a.num_attention_heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
    if a.q_lora_rank is None:
        yield "q_proj.weight", (queries, a.hidden_size)
    else:
        yield "q_a_proj.weight", (a.q_lora_rank, a.hidden_size)
        if a.attention_bias:
            yield "q_a_proj.bias", (a.q_lora_rank,)
        yield "q_a_layernorm.weight", (a.q_lora_rank,)
        yield "q_b_proj.weight", (queries, a.q_lora_rank)
    latent = a.kv_lora_rank + a.qk_rope_head_dim
    yield "kv_a_proj_with_mqa.weight", (latent, a.hidden_size)
    if a.attention_bias:
        yield "kv_a_proj_with_mqa.bias", (latent,)
    yield "kv_a_layernorm.weight", (a.kv_lora_rank,)
    yield "kv_b_proj.weight", (a.num_attention_heads * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank)
    yield "o_proj.weight", (a.hidden_size, a.num_attention_heads * a.v_head_dim)
    if a.attention_bias:
        yield "o_proj.bias", (a.hidden_size,)


def _mlp(prefix: str, hidden: int, intermediate: int) -> dict[str, Shape]:
    return {
        f"{prefix}.gate_proj.weight": (intermediate, hidden),
        f"{prefix}.up_proj.weight": (intermediate, hidden),
        f"{prefix}.down_proj.weight": (hidden, intermediate),
    }


def _mixture(prefix: str, architecture: Architecture) -> dict[str, Shape]:
    moe, hidden = architecture.moe, architecture.hidden_size
    experts, intermediate = moe.n_routed_experts, moe.moe_intermediate_size
    shapes: dict[str, Shape] = {
        f"{prefix}.gate.weight": (experts, hidden),
        f"{prefix}.experts.gate_up_proj": (experts, 2 * intermediate, hidden),
        f"{prefix}.experts.down_proj": (experts, hidden, intermediate),
    }
    if moe.n_shared_experts:
        shapes.update(_mlp(f"{prefix}.shared_experts", hidden, intermediate * moe.n_shared_experts))
    return shapes
