"""Bytes that one rank of a training run needs, in closed form.

What the framework itself holds (Python, torch, NCCL) is not counted. The formulas follow ZeRO (Rajbhandari et
al. 2020, arXiv:1910.02054) and the tensors that `model` keeps for its backward pass (`activations`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import PipelineSchedule
from deepseek_workloads.plan.activations import kept_per_token
from deepseek_workloads.plan.layout import Layout
from deepseek_workloads.plan.pipeline import buffers, passes_held
from deepseek_workloads.plan.tensors import ROUTED_EXPERTS, elements, layer_shapes, parameter_shapes
from deepseek_workloads.plan.vision_tensors import vision_shapes

MASTER_BYTES = 4  # weights, gradients and each moment are kept in float32
_MOMENTS = {"adamw": 2, "amf": 3}  # of every parameter
COMPUTE_BYTES = {
    "fp32": 4,
    "bf16": 2,
    "fp16": 2,
    "fp8": 2,
}  # float8 is of operands, while they are multiplied
# What a CPU's process holds beside tensors at its peak, of those that come and go, of those that stay, and
# in all: the allocator (glibc) cannot give back what lies between blocks that are still kept, and products in
# low precision bring generated code and copies of their operands (oneDNN). Fitted to what bench/memory.py
# measures; a GPU's caching allocator fills such gaps.
_HELD_SHARE = {"fp32": 0.45, "bf16": 0.7, "fp16": 0.7, "fp8": 0.7}
_HELD_OF_STATES = {"fp32": 0.025, "bf16": 0.065, "fp16": 0.065, "fp8": 0.065}
_HELD_BYTES = {"fp32": 0, "bf16": 104_000_000, "fp16": 104_000_000, "fp8": 104_000_000}
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
    copies: int = 0  # of weights, that stay as they are
    staged: int = 0  # weights and optimizer states on their way to a checkpoint
    host: int = 0  # of a GPU's rank: shards of weights, gradients and optimizer states, by cpuOffload
    held: int = 0  # by allocator and kernels beside tensors
    gradients_stay: bool = True  # from one pass to the next; else they come as activations go

    @property
    def states(self) -> int:
        """What is there whatever the batch: weights, gradients and optimizer states, and copies of them."""
        return self.weights + self.gradients + self.optimizer + self.copies + self.staged

    @property
    def tensors(self) -> int:
        """At the peak: the end of a forward pass, or of a backward pass where that needs more."""
        forward = self.activations + self.logits
        return self.states + forward - (0 if self.gradients_stay else min(forward, self.gradients))

    @property
    def total(self) -> int:
        return self.tensors + self.held


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
    optimizer: str = "adamw",
    trained: float = 1.0,
    copies: int = 0,
    staging_ranks: int = 0,
    gradients_stay: bool = True,
    cpu_offload: bool = False,
    passes: int = 1,
    schedule: PipelineSchedule = "1F1B",
) -> MemoryEstimate:
    """Of one rank of the layout. `precision`: what computes (float32 is kept and reduced whatever it is);
    `recompute`: layers keep their input only, and run again in the backward pass; `optimizer`: its name in
    the run config; `trained`: share of the parameters that have gradients; `copies` of what is trained are
    held beside it; `staging_ranks`: among how many ranks with the same state the copy for a checkpoint is
    divided, 0: there is none; `gradients_stay`: over several passes of a step, or in the buckets of replicas,
    so that they are there beside all activations; `cpu_offload`: shards lie in the host's memory;
    `passes` of a step, and the `schedule` by which they go through a pipeline. Its stages count as equal."""
    compute = COMPUTE_BYTES[precision]
    tokens = micro_batch_size * sequence_length // layout.context
    optimizer_bytes = round(trained * MASTER_BYTES * _moments(architecture, layout, optimizer))
    stored_bytes = MASTER_BYTES * _stored(architecture, layout)
    kept = kept_per_token(
        architecture,
        length=sequence_length,
        gpu=gpu,
        recompute=recompute,
        experts_shared=layout.expert > 1,
        passes_held=passes_held(passes, ranks=layout.pipeline, schedule=schedule),
    )
    received = buffers(passes, ranks=layout.pipeline, schedule=schedule) * architecture.hidden_size * compute
    memory = MemoryEstimate(
        weights=_weights(architecture, zero_stage, layout, compute),
        gradients=round(trained * _gradients(architecture, zero_stage, layout, compute)),
        optimizer=optimizer_bytes,
        activations=tokens * (kept.size(compute, exact_weights=not layout.sharded) + received),
        logits=_logits(architecture, tokens, compute, gpu=gpu),
        copies=round(trained * copies * stored_bytes),
        staged=estimate_staged(
            architecture, layout=layout, optimizer=optimizer, trained=trained, ranks=staging_ranks
        )
        if staging_ranks
        else 0,
        gradients_stay=gradients_stay,
    )
    if cpu_offload:
        memory = _offloaded(memory, weights=stored_bytes, gradients=round(trained * stored_bytes))
    return memory if gpu else replace(memory, held=_held_beside(memory, precision))


def _offloaded(memory: MemoryEstimate, *, weights: int, gradients: int) -> MemoryEstimate:
    """With the shards in the host's memory; what is gathered stays."""
    return replace(
        memory,
        weights=memory.weights - weights,
        gradients=max(0, memory.gradients - gradients),
        optimizer=0,
        host=weights + gradients + memory.optimizer,
    )


def _held_beside(memory: MemoryEstimate, precision: str) -> int:
    """Bytes that a CPU's process has beyond its tensors."""
    moving = memory.tensors - memory.states + memory.gradients
    stays = _HELD_OF_STATES[precision] * memory.states
    return round(_HELD_SHARE[precision] * moving + stays) + _HELD_BYTES[precision]


def estimate_staged(
    architecture: Architecture, *, layout: Layout, optimizer: str, trained: float, ranks: int
) -> int:
    """Bytes of weights and optimizer states that one of `ranks` with the same state writes."""
    moments = round(trained * MASTER_BYTES * _moments(architecture, layout, optimizer))
    return -(-(MASTER_BYTES * _stored(architecture, layout) + moments) // ranks)


def _unsharded_blocks(architecture: Architecture, layout: Layout) -> int:
    """Elements gathered at a time: two layers (one computes, the next is fetched), embedding and head, and
    what makes features of images, beside them. Of experts each rank gathers its own."""
    last = layer_shapes(architecture, architecture.num_hidden_layers - 1)
    experts = sum(prod(shape) for name, shape in last.items() if ROUTED_EXPERTS in name)
    layer = elements(last) - experts + -(-experts // layout.expert)
    heads = 1 if architecture.tie_word_embeddings else 2
    seeing = elements(vision_shapes(architecture))
    return 2 * layer + heads * architecture.vocab_size * architecture.hidden_size + seeing


def _held(architecture: Architecture, layout: Layout) -> tuple[int, int]:
    """Parameters that a rank computes with, before shards: others, experts."""
    others, experts = _counts(architecture)
    return -(-others // (layout.pipeline * layout.tensor)), -(-experts // (layout.pipeline * layout.expert))


@lru_cache(maxsize=64)
def _counts(architecture: Architecture) -> tuple[int, int]:
    """Parameters: others, experts. The search for a pool asks hundreds of times."""
    shapes = parameter_shapes(architecture)
    experts = sum(prod(shape) for name, shape in shapes.items() if ROUTED_EXPERTS in name)
    return elements(shapes) - experts, experts


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
    gathered = _unsharded_blocks(architecture, layout) if zero_stage == 3 else held
    return MASTER_BYTES * stored + compute * min(gathered, held)


def _gradients(architecture: Architecture, zero_stage: int, layout: Layout, compute: int) -> int:
    held, stored = sum(_held(architecture, layout)), _stored(architecture, layout)
    if zero_stage == 0:
        return MASTER_BYTES * held
    if stored == held and compute == MASTER_BYTES:
        return MASTER_BYTES * stored
    whole = held if zero_stage == 1 else min(_unsharded_blocks(architecture, layout), held)
    return MASTER_BYTES * stored + compute * whole


def _moments(architecture: Architecture, layout: Layout, optimizer: str) -> int:
    """Numbers that the optimizer keeps on a rank."""
    stored = _stored(architecture, layout)
    if optimizer != "muon":
        return _MOMENTS[optimizer] * stored
    shapes = parameter_shapes(architecture)
    ends = architecture.vocab_size * architecture.hidden_size * (1 if architecture.tie_word_embeddings else 2)
    hidden = sum(prod(shape) for shape in shapes.values() if len(shape) >= 2) - ends
    return 2 * stored - stored * hidden // elements(shapes)  # one of what it makes orthogonal


def _logits(architecture: Architecture, tokens: int, compute: int, *, gpu: bool) -> int:
    """A chunk's logits, and on a GPU, where it is not taken row by row, two copies of at least float32; the
    head's gradient, which the forward pass makes, with a product that is added where the dtypes differ."""
    chunk = min(tokens * architecture.vocab_size, max(LOSS_CHUNK_ELEMENTS[gpu], architecture.vocab_size))
    head = architecture.vocab_size * architecture.hidden_size
    added = compute * head if compute < MASTER_BYTES else 0
    copies = 2 * MASTER_BYTES * chunk if gpu else 0
    return MASTER_BYTES * head + added + compute * chunk + copies
