"""Whether batches, sequences and the schedule of a run go with its layout and its model. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.layout import fixed_product, layout_of
from deepseek_workloads.plan.nearest import divisors_near, either, multiples
from deepseek_workloads.plan.pipeline import enough_passes, passes_rule
from deepseek_workloads.plan.problem import Problem

INVALID_BATCH_SIZE = "InvalidBatchSize"
SEQUENCE_TOO_LONG = "SequenceTooLong"
INVALID_SCHEDULE = "InvalidSchedule"


def passes(run: TrainingRun) -> Iterator[Problem]:
    """Whether a step has micro-batches enough for the pipeline."""
    p, micro = run.training.parallelism, run.training.micro_batch_size
    ranks, schedule = p.pipeline_parallel_degree, p.pipeline_parallel_schedule
    if ranks == 1 or run.workers.world_size % fixed_product(p):
        return
    of_rank, rest = divmod(run.training.global_batch_size, layout_of(p, run.workers.world_size).data)
    allowed = [
        size
        for size in range(1, of_rank + 1)
        if of_rank % size == 0 and enough_passes(of_rank // size, ranks=ranks, schedule=schedule)
    ]
    if rest or (micro is None and allowed) or (micro in allowed) or (micro is not None and of_rank % micro):
        return
    rule = passes_rule(ranks=ranks, schedule=schedule)
    yield Problem(
        "spec.training.microBatchSize" if allowed else "spec.training.globalBatchSize",
        str(micro if allowed else run.training.global_batch_size),
        f"the micro-batches of a step must be {rule} (pipelineParallelSchedule {schedule}); a data-parallel "
        f"process has {of_rank} sequences",
        f"use microBatchSize {either(sorted(allowed, key=lambda size: abs(size - (micro or 1)))[:2])}"
        if allowed
        else "use a larger globalBatchSize, or a smaller pipelineParallelDegree",
        INVALID_BATCH_SIZE,
    )


def found(run: TrainingRun) -> Iterator[Problem]:
    """Whether passes can be measured, and decide."""
    if not run.training.find_micro_batch_size:
        return
    ways = {
        "microBatchSize is given": (run.training.micro_batch_size is not None, "leave one of the two away"),
        "the passes of a pipeline fill each other's gaps": (
            run.training.parallelism.pipeline_parallel_degree > 1,
            "use pipelineParallelDegree 1, or microBatchSize",
        ),
        "a process of a pod without a GPU knows no limit of its memory": (
            run.workers.gpus_per_node == 0 and run.workers.memory_bytes is None,
            "set spec.workers.resources.memory, or use microBatchSize",
        ),
    }
    for why, (refused, remedy) in ways.items():
        if refused:
            yield Problem(
                "spec.training.findMicroBatchSize", "true", f"cannot be: {why}", remedy, INVALID_BATCH_SIZE
            )


def batch(run: TrainingRun) -> Iterator[Problem]:
    """Whether every data-parallel process gets whole micro-batches."""
    p, batch = run.training.parallelism, run.training.global_batch_size
    if run.workers.world_size % fixed_product(p):
        return  # `layout` tells
    world = layout_of(p, run.workers.world_size).data
    if batch % world:
        yield Problem(
            "spec.training.globalBatchSize",
            str(batch),
            f"must be divisible by the data-parallel size {world}",
            f"use {either(multiples(batch, world))}, or a data-parallel size of "
            f"{either(divisors_near(batch, world))}",
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
    chosen, steps = run.training.schedule, run.training.steps
    if chosen.warmup_steps > steps:
        yield Problem(
            "spec.training.schedule.warmupSteps",
            str(chosen.warmup_steps),
            f"must not exceed the {steps} steps of the run",
            f"use at most {steps}, or train on more tokens",
            INVALID_SCHEDULE,
        )
    elif chosen.decay_steps is not None and chosen.warmup_steps + chosen.decay_steps > steps:
        yield Problem(
            "spec.training.schedule.decaySteps",
            str(chosen.decay_steps),
            f"must not exceed the {steps - chosen.warmup_steps} steps after warm-up",
            f"use at most {max(1, steps - chosen.warmup_steps)}, or train on more tokens",
            INVALID_SCHEDULE,
        )
