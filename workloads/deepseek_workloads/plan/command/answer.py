"""The figures of a planned run, by the functions of `status.plan`, for programs and as a table. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_workloads.plan.accelerators import accelerator_of
from deepseek_workloads.plan.command.arguments import DEFAULT_SEQUENCE_LENGTH, Asked
from deepseek_workloads.plan.command.run import Planned, global_batch_size
from deepseek_workloads.plan.estimate import Estimate, estimate
from deepseek_workloads.plan.hugging_face_config import class_of
from deepseek_workloads.plan.pool import GIB, Pool, smallest_pool
from deepseek_workloads.plan.step_time import estimated_tokens_per_second


@dataclass(frozen=True)
class Answer:
    name: str  # of the preset, or model_type of a config.json
    sequence_length: int
    needed: Estimate
    pool: Pool | None
    tokens_per_second: int | None  # of one GPU; None: no product was named
    exported_as: str
    too_large: str  # why a job would be refused for memory; empty: its states fit


def answer(name: str, planned: Planned, asked: Asked) -> Answer:
    run, gpu = planned.run, accelerator_of(asked.gpu_product or "")
    needed = estimate(run)
    return Answer(
        name=name,
        sequence_length=run.data.sequence_length,
        needed=needed,
        pool=smallest_pool(
            run.architecture,
            sequence_length=run.data.sequence_length,
            precision=run.training.precision,
            gpu_memory_bytes=asked.gpu_memory_bytes,
        ),
        tokens_per_second=round(estimated_tokens_per_second(run, needed, gpu) / run.workers.world_size)
        if gpu
        else None,
        exported_as=class_of(run.architecture),
        too_large=planned.too_large,
    )


def for_programs(answer: Answer) -> dict[str, Any]:
    """Numbers: bytes, tokens, operations."""
    pace = answer.tokens_per_second
    return {
        "preset": answer.name,
        "sequenceLength": answer.sequence_length,
        "parameters": answer.needed.parameters,
        "activeParameters": answer.needed.active_parameters,
        "flopsPerToken": answer.needed.flops_per_token,
        "flopsPerImage": answer.needed.flops_per_image,
        "memoryPerRank": answer.needed.memory.total,
        "hostMemoryPerRank": answer.needed.memory.host,
        "insufficientMemory": answer.too_large or None,
        "smallestGpuPool": _pool(answer),
        **({} if pace is None else {"estimatedTokensPerSecondAndGpu": pace}),
        "exportedAs": answer.exported_as,
    }


def remarks(answers: Sequence[Answer], asked: Asked) -> list[str]:
    """What the figures alone do not say: of which length they are where it is not the one of the others, and
    what a job would be refused for memory, or would end for lack of it."""
    length = asked.sequence_length or DEFAULT_SEQUENCE_LENGTH
    cut = [f"{a.name} {a.sequence_length}" for a in answers if a.sequence_length < length]
    shorter = [f"sequences of {length} tokens are cut to the positions of the model: {', '.join(cut)}"]
    return [
        *(shorter if cut else ()),
        *(f"{a.name}: a job would be refused: {a.too_large}" for a in answers if a.too_large),
        *(
            f"{a.name}: a rank needs {a.needed.memory.total / GIB:.1f} GiB, more than GPUs of "
            f"{asked.gpu_memory_bytes / GIB:g} GiB have: no job would reach its tokens/s/GPU in this layout"
            for a in answers
            if not a.too_large and a.tokens_per_second is not None
            if a.needed.memory.total > asked.gpu_memory_bytes
        ),
    ]


def table(answers: Sequence[Answer], asked: Asked) -> list[str]:
    """Lines: what all have in common, then one for each."""
    columns = [_columns(answer, asked) for answer in answers]
    rows = [list(columns[0]), *(list(words.values()) for words in columns)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _common(asked),
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
    ]


def _common(asked: Asked) -> str:
    return (
        f"{asked.sequence_length or DEFAULT_SEQUENCE_LENGTH} tokens a sequence, {global_batch_size(asked)} "
        f"sequences a step, {asked.precision}; a rank of {asked.gpus}, {', '.join(_layout(asked))}; GPUs of "
        f"{asked.gpu_memory_bytes / GIB:g} GiB"
    )


def _layout(asked: Asked) -> Iterator[str]:
    """What is not as by default, in the words of a job."""
    yield f"zeroStage {asked.zero_stage}"
    degrees = {
        "dataParallelReplicateDegree": asked.data_parallel_replicate,
        "expertParallelDegree": asked.expert_parallel,
        "tensorParallelDegree": asked.tensor_parallel,
        "pipelineParallelDegree": asked.pipeline_parallel,
        "contextParallelDegree": asked.context_parallel,
    }
    yield from (f"{name} {degree}" for name, degree in degrees.items() if degree > 1)
    if asked.pipeline_parallel > 1:
        yield f"pipelineParallelSchedule {asked.pipeline_schedule}"
    if asked.cpu_offload:
        yield "cpuOffload"
    yield f"optimizer {asked.optimizer}"
    if asked.activation_checkpointing != "none":
        yield f"activationCheckpointing {asked.activation_checkpointing}"


def _columns(answer: Answer, asked: Asked) -> dict[str, str]:
    needed, pace = answer.needed, answer.tokens_per_second
    host = {"host/rank": f"{needed.memory.host / GIB:.1f} GiB"} if asked.cpu_offload else {}
    return {
        "preset": answer.name,
        "parameters": _short(needed.parameters),
        "active": _short(needed.active_parameters),
        "FLOPs/token": _short(needed.flops_per_token),
        "memory/rank": f"{needed.memory.total / GIB:.1f} GiB",
        **host,
        "smallest pool": _pool(answer),
        "exported as": answer.exported_as,
        **({} if pace is None else {"tokens/s/GPU": f"{pace:,}"}),
    }


def _pool(answer: Answer) -> str:
    return "none" if answer.pool is None else str(answer.pool)


def _short(number: int) -> str:
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)
