"""Size, cost and memory of a run before it starts: what `status.plan` shows and `rules` compares.

Parameters are exact (a sum over tensors); FLOPs and bytes are closed forms.
"""

from dataclasses import dataclass
from math import prod

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import Parallelism, TrainingRun
from deepseek_workloads.plan.layout import layout_of
from deepseek_workloads.plan.lsh_budget import lsh_budget
from deepseek_workloads.plan.memory import MemoryEstimate, estimate_memory, estimate_staged
from deepseek_workloads.plan.modules import fitting, linear_names
from deepseek_workloads.plan.pipeline import enough_passes
from deepseek_workloads.plan.tensors import NEXTN, ROUTED_EXPERTS, Shape, elements, parameter_shapes
from deepseek_workloads.plan.vision_tensors import PROJECTOR, VISION_TOWER, vision_shapes

_COPIES_OF_ANCHOR = 2  # where weights start from, and how much each is needed
# A pass gets sequences up to this many tokens: beyond it kernels are busy and only memory grows.
_TOKENS_PER_PASS = 8192


@dataclass(frozen=True)
class Estimate:
    parameters: int
    active_parameters: int  # that one token passes through
    flops_per_token: int  # forward and backward
    flops_per_image: int  # beside those of the tokens that it takes; 0: no vision
    tokens_per_step: int
    micro_batch_size: int  # sequences
    passes: int  # of a rank in a step
    memory: MemoryEstimate  # of one rank

    @property
    def memory_bytes_per_rank(self) -> int:
        return self.memory.total


def estimate(run: TrainingRun) -> Estimate:
    """Of a run whose rules hold (`rules.check_training`)."""
    micro_batch_size = choose_micro_batch_size(run)
    return Estimate(
        parameters=parameters(run.architecture),
        active_parameters=active_parameters(run.architecture),
        flops_per_token=flops_per_token(run.architecture, sequence_length=run.data.sequence_length),
        flops_per_image=flops_per_image(run.architecture),
        tokens_per_step=run.training.global_batch_size * run.data.sequence_length,
        micro_batch_size=micro_batch_size,
        passes=_passes(run, micro_batch_size),
        memory=_memory(run, micro_batch_size),
    )


def parameters(architecture: Architecture) -> int:
    """Trained parameters, modules for more than the next token included; the router's balancing biases are
    not among them."""
    return elements(parameter_shapes(architecture))


def active_parameters(architecture: Architecture) -> int:
    """Those of one token of text when the model is used: of the routed experts only the chosen ones, of
    modules for more than the next token and of what sees images none, everything else whole."""
    shapes = _of_text(architecture)
    return _active({name: shape for name, shape in shapes.items() if NEXTN not in name}, architecture)


def flops_per_token(architecture: Architecture, *, sequence_length: int) -> int:
    """Floating-point operations of one token, forward and backward (3 times the forward).

    2 for each weight of a matrix product (the embedding is a look-up), and attention over the half of the
    sequence that a causal token sees on average. Each module for more than the next token adds its own, and
    the head's once more.
    """
    a = architecture
    modules = a.num_nextn_predict_layers
    products = _active(_of_text(a), a) - _looked_up(a) + modules * a.vocab_size * a.hidden_size
    layers = a.num_hidden_layers + modules
    seen = attended_positions(a, sequence_length)
    attention = a.num_attention_heads * attention_width(a) * seen
    if a.indexer is not None:  # scores everything, and learns from attention's scores: forward only, a third
        scores = a.num_attention_heads * (a.qk_nope_head_dim + a.qk_rope_head_dim) / 3
        attention += (a.indexer.index_n_heads * a.indexer.index_head_dim + scores) * sequence_length / 2
    return round(3 * (2 * products + 2 * layers * attention))


def flops_per_image(a: Architecture) -> int:
    """Forward and backward of encoder and projector: 2 for each weight of a matrix product and patch, and
    attention of every patch to every other."""
    v = a.vision
    if v is None:
        return 0
    matrices = {name: shape for name, shape in vision_shapes(a).items() if name.endswith("weight")}
    products = sum(prod(shape) for shape in matrices.values() if len(shape) > 1)
    patches = v.num_patches
    attention = v.num_hidden_layers * 2 * v.hidden_size * patches
    return 3 * 2 * patches * (products + attention)


def _of_text(a: Architecture) -> dict[str, Shape]:
    """What each token goes through."""
    return {
        name: shape
        for name, shape in parameter_shapes(a).items()
        if not name.startswith((VISION_TOWER, PROJECTOR))
    }


def attention_width(a: Architecture) -> int:
    """Features of a head that the products of queries with keys and of weights with values run over."""
    return a.qk_nope_head_dim + a.qk_rope_head_dim + a.v_head_dim if a.latent else 2 * a.head_dim


def attended_positions(a: Architecture, sequence_length: int) -> float:
    """That a token of a sequence meets on average; more than there are where lsh meets some twice. With an
    indexer those that it has not chosen are computed, too, and hidden by a mask (`model.sparse_latent`)."""
    kind, length = a.attention.kind, sequence_length
    if kind == "slidingWindow":
        window = min(a.attention.sliding_window, length)
        return window * (1 - window / (2 * length))
    if kind == "lsh":
        return a.attention.num_hashes * lsh_budget(a.attention, length)
    return length / 2


def _active(shapes: dict[str, Shape], architecture: Architecture) -> int:
    routed = sum(prod(shape) for name, shape in shapes.items() if ROUTED_EXPERTS in name)
    if architecture.moe is None:
        return elements(shapes)
    moe = architecture.moe
    return elements(shapes) - routed + routed * moe.num_experts_per_tok // moe.n_routed_experts


def choose_micro_batch_size(run: TrainingRun) -> int:
    """The run's own, or the largest divisor of a rank's batch that is worth its memory and fits its limit."""
    if run.training.micro_batch_size is not None:
        return run.training.micro_batch_size
    parallelism = run.training.parallelism
    of_rank = max(1, run.training.global_batch_size // layout_of(parallelism, run.workers.world_size).data)
    limit = run.workers.memory_bytes if run.workers.gpus_per_node == 0 else None
    chosen = 1
    tokens = run.data.sequence_length // parallelism.context_parallel_degree
    for size in range(2, min(of_rank, _TOKENS_PER_PASS // tokens) + 1):
        if of_rank % size or not _fills_pipeline(parallelism, of_rank // size):
            continue
        needed = _memory(run, size).total * run.workers.num_proc_per_node
        if limit is None or needed <= limit // 2:
            chosen = size
    return chosen


def _fills_pipeline(parallelism: Parallelism, passes: int) -> bool:
    ranks = parallelism.pipeline_parallel_degree
    schedule = parallelism.pipeline_parallel_schedule
    return ranks == 1 or enough_passes(passes, ranks=ranks, schedule=schedule)


def _looked_up(architecture: Architecture) -> int:
    """Elements that take part in no matrix product: the embedding, unless the head shares it."""
    return 0 if architecture.tie_word_embeddings else architecture.vocab_size * architecture.hidden_size


def _passes(run: TrainingRun, micro_batch_size: int) -> int:
    """Of a rank in a step."""
    layout = layout_of(run.training.parallelism, run.workers.world_size)
    return max(1, run.training.global_batch_size // layout.data // micro_batch_size)


def _memory(run: TrainingRun, micro_batch_size: int) -> MemoryEstimate:
    layout = layout_of(run.training.parallelism, run.workers.world_size)
    replicas = not layout.sharded and layout.world_size > 1  # their reducers keep buckets
    return estimate_memory(
        run.architecture,
        zero_stage=run.training.parallelism.zero_stage,
        layout=layout,
        precision=run.training.precision,
        micro_batch_size=micro_batch_size,
        sequence_length=run.data.sequence_length,
        gpu=run.workers.gpus_per_node > 0,
        recompute=run.training.activation_checkpointing == "full",
        optimizer=run.training.optimizer.name,
        trained=trained_share(run),
        copies=_COPIES_OF_ANCHOR if run.training.consolidation is not None else 0,
        staging_ranks=_staging_ranks(run),
        cpu_offload=run.training.parallelism.cpu_offload,
        gradients_stay=replicas or _passes(run, micro_batch_size) > 1,
        passes=_passes(run, micro_batch_size),
        schedule=run.training.parallelism.pipeline_parallel_schedule,
    )


def _staging_ranks(run: TrainingRun) -> int:
    """Of a GPU's state the copy lies in the host's memory, which this does not count."""
    if run.checkpoint.mode == "sync" or run.workers.gpus_per_node > 0:
        return 0
    return _writing_ranks(run)


def _writing_ranks(run: TrainingRun) -> int:
    """Among how many ranks with the same state a checkpoint is divided. Of Horovod's ranks one writes."""
    return layout_of(run.training.parallelism, run.workers.world_size).dense[1] if run.backend == "ray" else 1


def checkpoint_bytes_of_rank(run: TrainingRun) -> int:
    """Weights and optimizer states that a rank writes."""
    return estimate_staged(
        run.architecture,
        layout=layout_of(run.training.parallelism, run.workers.world_size),
        optimizer=run.training.optimizer.name,
        trained=trained_share(run),
        ranks=_writing_ranks(run),
    )


def trained_share(run: TrainingRun) -> float:
    """Of the parameters, that have gradients; with lora that many are added, which is little beside them."""
    lora = run.training.lora
    if lora is None:
        return 1.0
    shapes = parameter_shapes(run.architecture)
    targets = fitting(linear_names(run.architecture), lora.targets)
    return lora.rank * sum(sum(shapes[f"{name}.weight"]) for name in targets) / elements(shapes)
