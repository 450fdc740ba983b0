"""Whether the workers and the layout of a run go together. Pure."""

from collections.abc import Iterator
from math import gcd

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.layout import fixed_product, layout_of
from deepseek_workloads.plan.nearest import divisors_near, either, multiples
from deepseek_workloads.plan.pipeline import MIRRORED, STAGES_PER_RANK
from deepseek_workloads.plan.problem import Problem

INVALID_PARALLELISM = "InvalidParallelism"

_PARALLELISM = "spec.training.parallelism"


def workers(run: TrainingRun) -> Iterator[Problem]:
    pods = run.workers
    if pods.gpus_per_node > 0 and pods.num_proc_per_node != pods.gpus_per_node:
        yield Problem(
            "spec.workers.numProcPerNode",
            str(pods.num_proc_per_node),
            f"must be resources.gpu ({pods.gpus_per_node}): one process drives one GPU",
            f"use numProcPerNode {pods.gpus_per_node}, or resources.gpu {pods.num_proc_per_node}",
            INVALID_PARALLELISM,
        )
    if pods.min_nodes > pods.num_nodes:
        yield Problem(
            "spec.workers.minNodes",
            str(pods.min_nodes),
            f"must not exceed numNodes ({pods.num_nodes})",
            f"use minNodes 1..{pods.num_nodes}",
            INVALID_PARALLELISM,
        )


def degrees(run: TrainingRun) -> Iterator[Problem]:
    """Whether the model and its sequences come out even in slices."""
    a, p = run.architecture, run.training.parallelism
    experts = a.routed_experts
    if not experts and p.expert_parallel_degree > 1:
        yield Problem(
            f"{_PARALLELISM}.expertParallelDegree",
            str(p.expert_parallel_degree),
            "must be 1 with a model that has no routed experts",
            "use 1, or a model with spec.model.architecture.moe",
            INVALID_PARALLELISM,
        )
    elif experts % p.expert_parallel_degree:
        yield _uneven(
            "expertParallelDegree", p.expert_parallel_degree, experts, f"the {experts} routed experts"
        )
    yield from _tensor_slices(a, p.tensor_parallel_degree)
    least = p.pipeline_parallel_degree * STAGES_PER_RANK[p.pipeline_parallel_schedule]
    if p.pipeline_parallel_degree > 1 and least > a.num_hidden_layers:
        most = a.num_hidden_layers // STAGES_PER_RANK[p.pipeline_parallel_schedule]
        yield Problem(
            f"{_PARALLELISM}.pipelineParallelDegree",
            str(p.pipeline_parallel_degree),
            f"needs a layer for each of its {least} stages (pipelineParallelSchedule "
            f"{p.pipeline_parallel_schedule}), the model has {a.num_hidden_layers}",
            f"use at most {max(1, most)}"
            + (", or schedule 1F1B" if least > p.pipeline_parallel_degree else ""),
            INVALID_PARALLELISM,
        )
    pieces = 2 * p.context_parallel_degree  # an early and a late one a rank, so that all have the same work
    if p.context_parallel_degree > 1 and run.data.sequence_length % pieces:
        offered = either(multiples(run.data.sequence_length, pieces))
        yield Problem(
            f"{_PARALLELISM}.contextParallelDegree",
            str(p.context_parallel_degree),
            f"twice the degree ({pieces}) must divide the {run.data.sequence_length} tokens of a sequence",
            f"use sequenceLength {offered}, or another degree",
            INVALID_PARALLELISM,
        )


def _not_with(a: Architecture) -> Iterator[tuple[str, str, object]]:
    """Degrees that want whole sequences, or all heads, on a process; the field of the model, its value."""
    if not a.latent:
        yield "contextParallelDegree", "attention.kind", a.attention.kind
        yield "tensorParallelDegree", "attention.kind", a.attention.kind
    if a.indexer is not None:
        yield "contextParallelDegree", "indexer.stage", a.indexer.stage
        yield "tensorParallelDegree", "indexer.stage", a.indexer.stage
    if a.dropout is not None:  # masks are made for whole sequences with all heads, by one pass at a time
        for degree in ("contextParallelDegree", "tensorParallelDegree", "pipelineParallelDegree"):
            yield degree, "dropout", "set"
    if a.vision is not None:  # features are put into whole sequences, and a stage has no encoder
        for degree in ("contextParallelDegree", "tensorParallelDegree", "pipelineParallelDegree"):
            yield degree, "vision", "set"
    if a.attention.head_gate is not None:
        yield "tensorParallelDegree", "attention.headGate", "set"
    if a.warming_up:
        yield "pipelineParallelDegree", "indexer.stage", "warmup"
    if a.num_nextn_predict_layers:
        yield "contextParallelDegree", "numNextnPredictLayers", a.num_nextn_predict_layers
    if a.moe is not None and a.moe.expert_capacity_factor is not None:
        yield "contextParallelDegree", "moe.expertCapacityFactor", a.moe.expert_capacity_factor


def combinations(run: TrainingRun) -> Iterator[Problem]:
    """What a degree does not go together with."""
    a, p = run.architecture, run.training.parallelism
    degrees = {
        "contextParallelDegree": p.context_parallel_degree,
        "tensorParallelDegree": p.tensor_parallel_degree,
        "pipelineParallelDegree": p.pipeline_parallel_degree,
    }
    for degree, field, value in _not_with(a):
        if degrees[degree] > 1:
            yield Problem(
                f"{_PARALLELISM}.{degree}",
                str(degrees[degree]),
                f"must be 1 with {field} ({value})",
                f"use {degree} 1, or a model without it: the other degrees go with it",
                INVALID_PARALLELISM,
            )
    shares_embedding = a.tie_word_embeddings or a.num_nextn_predict_layers > 0
    mirrored = p.pipeline_parallel_schedule in MIRRORED
    if p.pipeline_parallel_degree > 1 and shares_embedding and mirrored:
        yield Problem(
            f"{_PARALLELISM}.pipelineParallelSchedule",
            p.pipeline_parallel_schedule,
            "must be 1F1B or Interleaved1F1B where the last stage uses the embedding "
            "(tieWordEmbeddings or numNextnPredictLayers)",
            "use Interleaved1F1B",
            INVALID_PARALLELISM,
        )


def _tensor_slices(a: Architecture, degree: int) -> Iterator[Problem]:
    sizes = {"numAttentionHeads": a.num_attention_heads, "vocabSize": a.vocab_size}
    layers = range(a.num_hidden_layers + a.num_nextn_predict_layers)
    if any(a.mixture_of(index) is None for index in layers):
        sizes["intermediateSize"] = a.intermediate_size
    if a.moe is not None and a.moe.n_shared_experts:
        sizes["moe.nSharedExperts x moeIntermediateSize"] = (
            a.moe.n_shared_experts * a.moe.moe_intermediate_size
        )
    for name, size in sizes.items():
        if size % degree:
            yield _uneven("tensorParallelDegree", degree, gcd(*sizes.values()), f"{name} ({size})")


def _uneven(field: str, degree: int, whole: int, what: str) -> Problem:
    return Problem(
        f"{_PARALLELISM}.{field}",
        str(degree),
        f"must divide {what}",
        f"use {either(divisors_near(whole, degree))}",
        INVALID_PARALLELISM,
    )


def layout(run: TrainingRun) -> Iterator[Problem]:
    """Whether the degrees and the processes come out even."""
    p, world = run.training.parallelism, run.workers.world_size
    processes = f"{world} processes ({run.workers.num_nodes} nodes x {run.workers.num_proc_per_node})"
    product = fixed_product(p)
    if world % product:
        sizes = {
            "dataParallelReplicateDegree": p.data_parallel_replicate_degree,
            "tensorParallelDegree": p.tensor_parallel_degree,
            "pipelineParallelDegree": p.pipeline_parallel_degree,
            "contextParallelDegree": p.context_parallel_degree,
        }
        wanted = " x ".join(f"{field} {degree}" for field, degree in sizes.items() if degree > 1)
        yield Problem(
            _PARALLELISM,
            wanted,
            f"the product {product} must divide the {processes}",
            f"use degrees whose product is {either(divisors_near(world, product))}, "
            f"or workers of {either(multiples(world, product))} processes",
            INVALID_PARALLELISM,
        )
        return
    # Experts are spread over the ranks that the other degrees already use.
    of_one = layout_of(p, world).expert_ranks
    if of_one % p.expert_parallel_degree:
        yield Problem(
            f"{_PARALLELISM}.expertParallelDegree",
            str(p.expert_parallel_degree),
            f"must divide the {of_one} processes of a stage's copy, of {processes}",
            f"use {either(divisors_near(of_one, p.expert_parallel_degree))}, or workers of "
            f"{either(multiples(world, world // of_one * p.expert_parallel_degree))} processes",
            INVALID_PARALLELISM,
        )


def storage(run: TrainingRun) -> Iterator[Problem]:
    """Whether there are shards for what asks for them."""
    p = run.training.parallelism
    if p.data_parallel_replicate_degree > 1 and p.zero_stage == 0:
        yield Problem(
            f"{_PARALLELISM}.dataParallelReplicateDegree",
            str(p.data_parallel_replicate_degree),
            "counts copies of shards, and zeroStage 0 has none: every process holds a copy",
            "use 1, or zeroStage 1, 2 or 3",
            INVALID_PARALLELISM,
        )
    if not p.cpu_offload:
        return
    if p.zero_stage == 0 or run.workers.gpus_per_node == 0 or run.workers.world_size == 1:
        yield Problem(
            f"{_PARALLELISM}.cpuOffload",
            "true",
            "moves the shards of GPUs to host memory: it needs zeroStage 1, 2 or 3, resources.gpu and more "
            f"than one process, not zeroStage {p.zero_stage}, gpu {run.workers.gpus_per_node} and "
            f"{run.workers.world_size}",
            "use false, or such workers",
            INVALID_PARALLELISM,
        )


def horovod(run: TrainingRun) -> Iterator[Problem]:
    """Data parallel without sharding, whatever the other fields say."""
    if run.backend != "horovod":
        return
    p = run.training.parallelism
    degrees = {
        "dataParallelReplicateDegree": p.data_parallel_replicate_degree,
        "expertParallelDegree": p.expert_parallel_degree,
        "tensorParallelDegree": p.tensor_parallel_degree,
        "pipelineParallelDegree": p.pipeline_parallel_degree,
        "contextParallelDegree": p.context_parallel_degree,
    }
    if p.zero_stage != 0:
        yield _not_horovods("zeroStage", p.zero_stage, 0)
    for field, degree in degrees.items():
        if degree != 1:
            yield _not_horovods(field, degree, 1)


def _not_horovods(field: str, value: int, must: int) -> Problem:
    return Problem(
        f"{_PARALLELISM}.{field}",
        str(value),
        f"must be {must} with backend horovod, which is data parallel without sharding",
        f"use {field} {must}, or backend ray",
        INVALID_PARALLELISM,
    )
