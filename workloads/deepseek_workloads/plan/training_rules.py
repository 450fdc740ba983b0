"""Whether what a run learns goes together with what it starts from and runs on. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import Training, TrainingRun
from deepseek_workloads.plan.layout_rules import INVALID_PARALLELISM
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_TENSOR, _PIPELINE, _CONTEXT, _EXPERT = (
    "tensorParallelDegree",
    "pipelineParallelDegree",
    "contextParallelDegree",
    "expertParallelDegree",
)
_ALL = (_TENSOR, _PIPELINE, _CONTEXT, _EXPERT)


def undivided(run: TrainingRun) -> Iterator[Problem]:
    """Settings that work on a whole layer, matrix or sequence of each process."""
    p = run.training.parallelism
    degrees = {
        _TENSOR: p.tensor_parallel_degree,
        _PIPELINE: p.pipeline_parallel_degree,
        _CONTEXT: p.context_parallel_degree,
        _EXPERT: p.expert_parallel_degree,
    }
    for setting, value, must_be_one in _of_whole(run.training):
        for degree in must_be_one:
            if degrees[degree] > 1:
                yield Problem(
                    f"spec.training.parallelism.{degree}",
                    str(degrees[degree]),
                    f"must be 1 with training.{setting} ({value})",
                    f"use {degree} 1, or leave {setting} away",
                    INVALID_PARALLELISM,
                )


def _of_whole(t: Training) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    """Of each setting in use its field, its value and the degrees that it has no implementation for."""
    if t.precision == "fp16":  # the sliced head's gradients are too small for it
        yield "precision", "fp16", (_TENSOR,)
    if t.precision_overrides:
        yield "precisionOverrides", f"{len(t.precision_overrides)} patterns", (_TENSOR, _PIPELINE, _EXPERT)
    if t.activation_checkpointing != "none":  # schedules divide the backward pass of a stage
        yield "activationCheckpointing", t.activation_checkpointing, (_PIPELINE,)
    if t.objective == "sft":  # its mask of conversations is of whole rows, and of one micro-batch
        yield "objective", "sft", (_TENSOR, _PIPELINE, _CONTEXT)
    if t.lora is not None:
        yield "lora", f"rank {t.lora.rank}", _ALL
    if t.entrypoint is not None:  # it lays out its model itself
        yield "entrypoint", repr(t.entrypoint), _ALL


def entrypoint(run: TrainingRun) -> Iterator[Problem]:
    """What belongs to the loop that it replaces would be passed over without a word."""
    if run.training.entrypoint is None:
        return
    settings = ("objective", "lora", "precision_overrides", "activation_checkpointing")
    for setting in settings:
        value = getattr(run.training, setting)
        if value != Training.model_fields[setting].get_default(call_default_factory=True):
            name = Training.model_fields[setting].alias or setting
            yield Problem(
                f"spec.training.{name}",
                value if isinstance(value, str) else "given",
                f"belongs to the built-in loop, which entrypoint {run.training.entrypoint} replaces",
                f"leave {name} away: the code of the entrypoint decides it",
                INVALID_TRAINING,
            )


def lora(run: TrainingRun) -> Iterator[Problem]:
    if run.training.lora is not None and run.init_from is None:
        yield Problem(
            "spec.training.lora",
            f"rank {run.training.lora.rank}",
            "adapts a trained model, and spec.model.initFrom names none",
            "name the model in spec.model.initFrom, or train all weights",
            INVALID_TRAINING,
        )


def conversations(run: TrainingRun) -> Iterator[Problem]:
    """Only plain latent attention keeps to the conversations of a packed row."""
    architecture = run.architecture
    if run.training.objective != "sft":
        return
    if architecture.attention.kind != "mla" or architecture.indexer is not None:
        kind = architecture.attention.kind if architecture.indexer is None else "mla with an indexer"
        yield Problem(
            "spec.training.objective",
            "sft",
            f"packs conversations, which attention {kind} would mix",
            "use a model of attention.kind mla without an indexer, or objective pretrain",
            INVALID_TRAINING,
        )
