"""The tensors of a model, by name and shape, from its architecture alone.

The names are those of the trained module (`model.causal_lm`), where the experts of a layer are fused as in
Hugging Face's memory layout. It knows nothing of dtypes, devices or sharding.
"""

from collections.abc import Iterator
from math import prod

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.plan.vision_tensors import vision_shapes

Shape = tuple[int, ...]
ROUTED_EXPERTS = ".mlp.experts."
NEXTN = "model.nextn_predict_layers."
ROUTER_BIAS = ".mlp.gate.e_score_correction_bias"  # a buffer: moved by the balancing rule, not by gradients


def parameter_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Every trained tensor once (a tied head is not listed), in the order of the module."""
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": _embedding(architecture)}
    for index in range(architecture.num_hidden_layers):
        shapes.update(layer_shapes(architecture, index))
    shapes["model.norm.weight"] = (architecture.hidden_size,)
    for index in range(architecture.num_nextn_predict_layers):
        shapes.update(nextn_shapes(architecture, index))
    shapes.update(vision_shapes(architecture))
    if not architecture.tie_word_embeddings:
        shapes["lm_head.weight"] = _embedding(architecture)
    return shapes


def buffer_shapes(architecture: Architecture) -> dict[str, Shape]:
    """What a model holds beside: the router's balancing biases."""
    layers = architecture.num_hidden_layers
    prefixes = [f"model.layers.{index}" for index in range(layers)]
    prefixes += [f"{NEXTN}{index}" for index in range(architecture.num_nextn_predict_layers)]
    mixtures = [architecture.mixture_of(index) for index in range(len(prefixes))]
    return {
        f"{prefix}{ROUTER_BIAS}": (moe.n_routed_experts,)
        for prefix, moe in zip(prefixes, mixtures, strict=True)
        if moe is not None and moe.scoring_func == "sigmoid"
    }


def layer_shapes(architecture: Architecture, index: int) -> dict[str, Shape]:
    """The trained tensors of decoder layer `index`."""
    return _decoder(f"model.layers.{index}", architecture, index)


def nextn_shapes(architecture: Architecture, index: int) -> dict[str, Shape]:
    """Those of module `index` for more than the next token; embedding and head are the model's."""
    hidden, prefix = architecture.hidden_size, f"{NEXTN}{index}"
    return {
        **_decoder(prefix, architecture, architecture.num_hidden_layers + index),
        f"{prefix}.enorm.weight": (hidden,),
        f"{prefix}.hnorm.weight": (hidden,),
        f"{prefix}.eh_proj.weight": (hidden, 2 * hidden),
        f"{prefix}.shared_head.norm.weight": (hidden,),
    }


def _decoder(prefix: str, architecture: Architecture, index: int) -> dict[str, Shape]:
    hidden = architecture.hidden_size
    attention = _latent_attention if architecture.latent else _attention
    shapes = {f"{prefix}.self_attn.{name}": shape for name, shape in attention(architecture)}
    moe = architecture.mixture_of(index)
    if moe is None:
        shapes.update(_mlp(f"{prefix}.mlp", hidden, architecture.intermediate_size))
    else:
        shapes.update(_mixture(f"{prefix}.mlp", moe, hidden=hidden))
    shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
    shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
    return shapes


def cache_width(a: Architecture) -> int:
    """Features that a layer keeps of an earlier token."""
    if a.latent:
        index = a.indexer.index_head_dim if a.indexer is not None else 0
        return a.kv_lora_rank + a.qk_rope_head_dim + index
    return 2 * a.key_value_heads * a.head_dim


def elements(shapes: dict[str, Shape]) -> int:
    return sum(map(prod, shapes.values()))


def _embedding(architecture: Architecture) -> Shape:
    return (architecture.vocab_size, architecture.hidden_size)


def _attention(a: Architecture) -> Iterator[tuple[str, Shape]]:
    queries, shared = a.num_attention_heads * a.head_dim, a.key_value_heads * a.head_dim
    for name, width in (("q_proj", queries), ("k_proj", shared), ("v_proj", shared)):
        yield f"{name}.weight", (width, a.hidden_size)
        if a.attention_bias:
            yield f"{name}.bias", (width,)
    yield "o_proj.weight", (a.hidden_size, queries)
    if a.attention_bias:
        yield "o_proj.bias", (a.hidden_size,)
    yield from _head_gate(a)


def _latent_attention(a: Architecture) -> Iterator[tuple[str, Shape]]:
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
    yield from _head_gate(a)
    if a.indexer is not None and a.q_lora_rank is not None:
        heads, width = a.indexer.index_n_heads, a.indexer.index_head_dim
        yield "indexer.wq_b.weight", (heads * width, a.q_lora_rank)
        yield "indexer.wk.weight", (width, a.hidden_size)
        yield "indexer.k_norm.weight", (width,)
        yield "indexer.k_norm.bias", (width,)
        yield "indexer.weights_proj.weight", (heads, a.hidden_size)


def _head_gate(a: Architecture) -> Iterator[tuple[str, Shape]]:
    if a.attention.head_gate is not None:
        yield "head_gate.weight", (a.num_attention_heads, a.hidden_size)
        yield "head_gate.bias", (a.num_attention_heads,)


def _mlp(prefix: str, hidden: int, intermediate: int) -> dict[str, Shape]:
    return {
        f"{prefix}.gate_proj.weight": (intermediate, hidden),
        f"{prefix}.up_proj.weight": (intermediate, hidden),
        f"{prefix}.down_proj.weight": (hidden, intermediate),
    }


def _mixture(prefix: str, moe: MoE, *, hidden: int) -> dict[str, Shape]:
    experts, intermediate = moe.n_routed_experts, moe.moe_intermediate_size
    shapes: dict[str, Shape] = {
        f"{prefix}.gate.weight": (experts, hidden),
        f"{prefix}.experts.gate_up_proj": (experts, 2 * intermediate, hidden),
        f"{prefix}.experts.down_proj": (experts, hidden, intermediate),
    }
    if moe.n_shared_experts:
        shapes.update(_mlp(f"{prefix}.shared_experts", hidden, intermediate * moe.n_shared_experts))
    return shapes
