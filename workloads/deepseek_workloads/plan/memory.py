"""Bytes that one rank of a training run needs, in closed form.

What the framework itself holds (Python, torch, NCCL, the allocator's fragments) is not counted. The formulas
follow ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054) and the tensors that `model` keeps for its backward
pass.
"""

from dataclasses import dataclass
from math import prod

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.plan.layout import Layout
from deepseek_workloads.plan.tensors import ROUTED_EXPERTS, elements, layer_shapes, parameter_shapes

MASTER_BYTES = 4  # weights, gradients and each Adam moment are kept in float32
ADAM_MOMENTS = 2
_NORM, _GATED = 2, 3  # tensors that these keep for the backward pass: input, output; gate, up, product
COMPUTE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
# Logits in memory at a time (`model.head` cuts the tokens by it), by whether there is a GPU: a CPU's caches
# want few, a GPU's many units want many.
LOSS_CHUNK_ELEMENTS = {False: 2**22, True: 2**27}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one rank at its peak, by what holds them."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def states(self) -> int:
        """What is there whatever the batch: weights, gradients and optimizer states."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        return self.states + self.activations + self.logits


def estimate_memory(
    architecture: Architecture,
    *,
    zero_stage: int,
    layout: Layout,
    precision: str,
    micro_batch_size: int,
    sequence_length: int,
    gpu: bool = False,
    recompute: bool = False,
) -> MemoryEstimate:
    """Of one rank of the layout. `precision` is fp32 or bf16 (bf16 computes, float32 is kept and reduced);
    `recompute`: layers keep their input only, and run again in the backward pass. Stages of a pipeline count
    as equal; a stage has fewer layers and as many more passes under way."""
    compute = COMPUTE_BYTES[precision]
    tokens = micro_batch_size * sequence_length // layout.context
    return MemoryEstimate(
        weights=_weights(architecture, zero_stage, layout, compute),
        gradients=_gradients(architecture, zero_stage, layout, compute),
        optimizer=ADAM_MOMENTS * MASTER_BYTES * _stored(architecture, layout),
        activations=tokens * activation_elements_per_token(architecture, recompute=recompute) * compute,
        logits=_logits(architecture, tokens, gpu=gpu),
    )


def activation_elements_per_token(architecture: Architecture, *, recompute: bool = False) -> int:
    """Elements that the backward pass needs, per token; with `recompute` layers keep their input only."""
    a = architecture
    last = _NORM * a.hidden_size + a.hidden_size  # and the gradient that the loss makes
    modules = a.num_nextn_predict_layers
    layers = [_layer_elements(a, index) for index in range(a.num_hidden_layers + modules)]
    # A module for more than the next token: two more norms, what they are joined to, a last norm of its own.
    beside = last + modules * ((2 * _NORM + 2) * a.hidden_size + last)
    if recompute:
        return beside + len(layers) * a.hidden_size + max(layers)
    return beside + sum(layers)


def _layer_elements(a: Architecture, index: int) -> int:
    moe = a.mixture_of(index)
    network = _GATED * a.intermediate_size if moe is None else _mixture_elements(moe, a.hidden_size)
    return _NORM * 2 * a.hidden_size + _attention_elements(a) + network


def _attention_elements(a: Architecture) -> int:
    if not a.latent:
        return 4 * a.num_attention_heads * a.head_dim  # queries, keys, values, output
    head = a.qk_nope_head_dim + a.qk_rope_head_dim
    heads = a.num_attention_heads * 2 * (head + a.v_head_dim)  # queries and keys, values and output
    latent = _NORM * a.kv_lora_rank + a.qk_rope_head_dim
    queries = _NORM * a.q_lora_rank if a.q_lora_rank is not None else 0
    return heads + latent + queries


def _mixture_elements(moe: MoE, hidden: int) -> int:
    gated = _GATED * moe.moe_intermediate_size
    # What goes in and comes out is kept too; gate and up, of which the product is made again.
    routed = moe.num_experts_per_tok * 2 * (hidden + moe.moe_intermediate_size)
    return routed + moe.n_shared_experts * gated + 4 * moe.n_routed_experts


def _unsharded_blocks(architecture: Architecture) -> int:
    """Elements gathered at a time: two layers (one computes, the next is fetched), embedding and head."""
    last = layer_shapes(architecture, architecture.num_hidden_layers - 1)
    heads = 1 if architecture.tie_word_embeddings else 2
    return 2 * elements(last) + heads * architecture.vocab_size * architecture.hidden_size


def _held(architecture: Architecture, layout: Layout) -> tuple[int, int]:
    """Parameters that a rank computes with, before shards: others, experts."""
    shapes = parameter_shapes(architecture)
    experts = sum(prod(shape) for name, shape in shapes.items() if ROUTED_EXPERTS in name)
    others = elements(shapes) - experts
    return -(-others // (layout.pipeline * layout.tensor)), -(-experts // (layout.pipeline * layout.expert))


def _stored(architecture: Architecture, layout: Layout) -> int:
    """Parameters whose optimizer states are a rank's own."""
    others, experts = _held(architecture, layout)
    return -(-others // layout.dense[2]) + -(-experts // layout.experts[2])


def _weights(architecture: Architecture, zero_stage: int, layout: Layout, compute: int) -> int:
    held, stored = sum(_held(architecture, layout)), _stored(architecture, layout)
    if zero_stage == 0:
        return MASTER_BYTES * held + (0 if compute == MASTER_BYTES else compute * held)
    if stored == held and compute == MASTER_BYTES:
        return MASTER_BYTES * stored
    gathered = _unsharded_blocks(architecture) if zero_stage == 3 else held
    return MASTER_BYTES * stored + compute * min(gathered, held)


def _gradients(architecture: Architecture, zero_stage: int, layout: Layout, compute: int) -> int:
    held, stored = sum(_held(architecture, layout)), _stored(architecture, layout)
    if zero_stage == 0:
        return MASTER_BYTES * held
    if stored == held and compute == MASTER_BYTES:
        return MASTER_BYTES * stored
    whole = held if zero_stage == 1 else min(_unsharded_blocks(architecture), held)
    return MASTER_BYTES * stored + compute * whole


def _logits(architecture: Architecture, tokens: int, *, gpu: bool) -> int:
    """A chunk's logits and their gradient; and the head's gradient, which the forward pass makes."""
    chunk = min(tokens * architecture.vocab_size, max(LOSS_CHUNK_ELEMENTS[gpu], architecture.vocab_size))
    return MASTER_BYTES * (2 * chunk + architecture.vocab_size * architecture.hidden_size)
