"""Whether the workers, the layout, the batch and the schedule of a run go together. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.nearest import divisors_near, either, multiples
from deepseek_workloads.plan.problem import Problem

INVALID_PARALLELISM = "InvalidParallelism"
UNSUPPORTED_PARALLELISM = "UnsupportedParallelism"
INVALID_BATCH_SIZE = "InvalidBatchSize"
SEQUENCE_TOO_LONG = "SequenceTooLong"
INVALID_SCHEDULE = "InvalidSchedule"

_PARALLELISM = "spec.training.parallelism"
_DEGREES = {
    "expertParallelDegree": "expert_parallel_degree",
    "tensorParallelDegree": "tensor_parallel_degree",
    "pipelineParallelDegree": "pipeline_parallel_degree",
    "contextParallelDegree": "context_parallel_degree",
}


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
    experts = run.architecture.routed_experts
    expert_degree = run.training.parallelism.expert_parallel_degree
    if experts % expert_degree:
        yield Problem(
            f"{_PARALLELISM}.expertParallelDegree",
            str(expert_degree),
            f"must divide the {experts} routed experts",
            f"use {either(divisors_near(experts, expert_degree))}",
            INVALID_PARALLELISM,
        )
    for field, name in _DEGREES.items():
        degree = getattr(run.training.parallelism, name)
        if degree > 1:
            yield Problem(
                f"{_PARALLELISM}.{field}",
                str(degree),
                "only 1 is supported in this release",
                "use 1; zeroStage 3 shards a model that is too large for one rank",
                UNSUPPORTED_PARALLELISM,
            )


def layout(run: TrainingRun) -> Iterator[Problem]:
    sizes = {field: getattr(run.training.parallelism, name) for field, name in _DEGREES.items()}
    expert_degree = sizes.pop("expertParallelDegree")
    world = run.workers.world_size
    processes = f"{world} processes ({run.workers.num_nodes} nodes x {run.workers.num_proc_per_node})"
    product = 1
    for degree in sizes.values():
        product *= degree
    if world % product:
        wanted = " x ".join(f"{field} {degree}" for field, degree in sizes.items() if degree > 1)
        yield Problem(
            _PARALLELISM,
            wanted,
            f"the product {product} must divide the {processes}",
            f"use degrees whose product is {either(divisors_near(world, product))}, "
            f"or workers of {either(multiples(world, product))} processes",
            INVALID_PARALLELISM,
        )
    # Experts are spread over the ranks that data parallelism and the other degrees already use.
    if world % expert_degree:
        yield Problem(
            f"{_PARALLELISM}.expertParallelDegree",
            str(expert_degree),
            f"must divide the {processes}",
            f"use {either(divisors_near(world, expert_degree))}, or workers of "
            f"{either(multiples(world, expert_degree))} processes",
            INVALID_PARALLELISM,
        )


def horovod(run: TrainingRun) -> Iterator[Problem]:
    if run.backend == "horovod" and run.training.parallelism.zero_stage != 0:
        yield Problem(
            f"{_PARALLELISM}.zeroStage",
            str(run.training.parallelism.zero_stage),
            "must be 0 with backend horovod, which is data parallel without sharding",
            "use zeroStage 0, or backend ray",
            INVALID_PARALLELISM,
        )


def batch(run: TrainingRun) -> Iterator[Problem]:
    batch, world = run.training.global_batch_size, run.workers.world_size
    if batch % world:
        yield Problem(
            "spec.training.globalBatchSize",
            str(batch),
            f"must be divisible by the data-parallel size {world}",
            f"use {either(multiples(batch, world))}, or {either(divisors_near(batch, world))} processes",
            INVALID_BATCH_SIZE,
        )
        return
    of_rank, micro = batch // world, run.training.micro_batch_size
    if micro is not None and of_rank % micro:
        yield Problem(
            "spec.training.microBatchSize",
            str(micro),
            f"must divide the {of_rank} sequences of a rank (globalBatchSize {batch} / {world})",
            f"use {either(divisors_near(of_rank, micro))}, or leave it away",
            INVALID_BATCH_SIZE,
        )


def sequence(run: TrainingRun) -> Iterator[Problem]:
    length, limit = run.data.sequence_length, run.architecture.max_position_embeddings
    if length > limit:
        yield Problem(
            "spec.data.sequenceLength",
            str(length),
            f"must not exceed maxPositionEmbeddings ({limit})",
            f"use at most {limit}, or maxPositionEmbeddings {length}",
            SEQUENCE_TOO_LONG,
        )


def schedule(run: TrainingRun) -> Iterator[Problem]:
    warmup, steps = run.training.schedule.warmup_steps, run.training.steps
    if warmup > steps:
        yield Problem(
            "spec.training.schedule.warmupSteps",
            str(warmup),
            f"must not exceed the {steps} steps of the run",
            f"use at most {steps}, or train on more tokens",
            INVALID_SCHEDULE,
        )
