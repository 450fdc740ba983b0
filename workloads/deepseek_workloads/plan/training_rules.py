"""Whether what a run learns goes together with what it starts from and runs on. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import Training, TrainingRun
from deepseek_workloads.plan.accelerators import accelerator_of
from deepseek_workloads.plan.layout_rules import INVALID_PARALLELISM
from deepseek_workloads.plan.nearest import divisors_near, either
from deepseek_workloads.plan.pipeline import SPLIT_BACKWARD
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_TENSOR, _PIPELINE, _CONTEXT, _EXPERT = (
    "tensorParallelDegree",
    "pipelineParallelDegree",
    "contextParallelDegree",
    "expertParallelDegree",
)
_CAUSAL = ("gqa", "slidingWindow")  # nothing but what comes before decides what a token sees
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
    if t.precision == "fp8":  # its matrices are whole, and so are its passes
        yield "precision", "fp8", (_TENSOR, _PIPELINE)
    if t.precision_overrides:
        yield "precisionOverrides", f"{len(t.precision_overrides)} patterns", (_TENSOR, _PIPELINE, _EXPERT)
    if t.objective == "sft":  # its mask of conversations is of whole rows, and of one micro-batch
        yield "objective", "sft", (_TENSOR, _PIPELINE, _CONTEXT)
    if t.lora is not None:
        yield "lora", f"rank {t.lora.rank}", _ALL
    if t.entrypoint is not None:  # it lays out its model itself
        yield "entrypoint", repr(t.entrypoint), _ALL
    if t.loss_function is not None:  # it is given whole rows of the head
        yield "lossFunction", repr(t.loss_function), (_TENSOR,)
    if t.quantisation is not None:
        yield "quantisation", f"{t.quantisation.bits} bits", _ALL
    if t.pruning is not None:
        yield "pruning", f"sparsity {t.pruning.sparsity}", _ALL
    if t.distillation is not None:
        yield "distillation", f"alpha {t.distillation.alpha}", (_TENSOR, _PIPELINE, _CONTEXT)
    if t.consolidation is not None:
        yield "consolidation", f"source {t.consolidation.source!r}", (_TENSOR, _PIPELINE, _CONTEXT)
    if any(stage.sequence_length is not None for stage in t.curriculum):
        yield "curriculum", f"{len(t.curriculum)} stages", (_PIPELINE, _CONTEXT)


def recomputed_stages(run: TrainingRun) -> Iterator[Problem]:
    """What is computed again belongs to one backward pass. Where that is split, `full` computes each layer
    once more for either half, which costs what the schedule saves, and torch refuses `selective`."""
    t, p = run.training, run.training.parallelism
    split = p.pipeline_parallel_degree > 1 and p.pipeline_parallel_schedule in SPLIT_BACKWARD
    if t.activation_checkpointing != "none" and split:
        yield Problem(
            "spec.training.parallelism.pipelineParallelSchedule",
            p.pipeline_parallel_schedule,
            "must be 1F1B or Interleaved1F1B with training.activationCheckpointing "
            f"({t.activation_checkpointing}): it splits the backward pass",
            "use Interleaved1F1B, or activationCheckpointing none",
            INVALID_PARALLELISM,
        )


def float8(run: TrainingRun) -> Iterator[Problem]:
    """Matrices that are seen in other numbers, or that little is trained beside."""
    t = run.training
    if t.precision != "fp8":
        return
    aware = t.quantisation is not None and t.quantisation.mode == "aware"
    beside = {"lora": t.lora is not None, "quantisation": aware, "entrypoint": t.entrypoint is not None}
    for setting in (setting for setting, is_set in beside.items() if is_set):
        yield Problem(
            "spec.training.precision",
            "fp8",
            f"does not go with training.{setting}",
            f"use bf16, or leave {setting} away",
            INVALID_TRAINING,
        )


def float8_products(run: TrainingRun) -> Iterator[Problem]:
    known = accelerator_of(run.workers.gpu_product or "")
    if run.training.precision == "fp8" and known is not None and not known.float8:
        yield Problem(
            "spec.training.precision",
            "fp8",
            f"needs GPUs of compute capability 9.0 or later, which {run.workers.gpu_product} does not have",
            "use bf16, or a nodeSelector for such GPUs",
            INVALID_TRAINING,
        )


def own_loss(run: TrainingRun) -> Iterator[Problem]:
    own = run.training.loss_function
    if own is not None and run.training.distillation is not None:
        yield Problem(
            "spec.training.lossFunction",
            own,
            "does not go with distillation, which has a loss of its own",
            "leave one of them away",
            INVALID_TRAINING,
        )
    if own is not None and run.training.precision == "fp16":
        yield Problem(
            "spec.training.lossFunction",
            own,
            "does not go with precision fp16: its numbers' range is not known",
            "use bf16 or fp32",
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


def quantisation(run: TrainingRun) -> Iterator[Problem]:
    if run.training.quantisation is not None and run.training.lora is not None:
        yield Problem(
            "spec.training.quantisation",
            f"{run.training.quantisation.bits} bits",
            "does not go with lora, whose frozen matrices would be rounded under what is trained beside them",
            "merge first: train with lora, then with quantisation from its export",
            INVALID_TRAINING,
        )


def curriculum(run: TrainingRun) -> Iterator[Problem]:
    stages, full, before = run.training.curriculum, run.data.sequence_length, 0
    if stages and run.training.objective == "sft":
        yield Problem(
            "spec.training.curriculum",
            f"{len(stages)} stages",
            "cuts sequences, or chooses by difficulty, which objective sft keeps whole and has no score for",
            "leave it away, or use objective pretrain",
            INVALID_TRAINING,
        )
    for index, stage in enumerate(stages):
        field = f"spec.training.curriculum[{index}]"
        if stage.until_step <= before:
            yield Problem(
                f"{field}.untilStep",
                str(stage.until_step),
                f"must be above the stage before ({before})",
                f"use {before + 1} or more",
                INVALID_TRAINING,
            )
        before = stage.until_step
        if stage.sequence_length is not None and full % stage.sequence_length:
            yield Problem(
                f"{field}.sequenceLength",
                str(stage.sequence_length),
                f"must divide data.sequenceLength ({full}), so that no token is left out",
                f"use {either(divisors_near(full, stage.sequence_length))}",
                INVALID_TRAINING,
            )


def pruning(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.pruning
    if wanted is None:
        return
    if wanted.at_step > run.training.steps:
        yield Problem(
            "spec.training.pruning.atStep",
            str(wanted.at_step),
            f"must not exceed the {run.training.steps} steps of the run",
            f"use at most {run.training.steps}",
            INVALID_TRAINING,
        )
    if run.training.lora is not None:
        yield Problem(
            "spec.training.pruning",
            f"sparsity {wanted.sparsity}",
            "does not go with lora, whose products would fill the closed channels again",
            "prune in a run that trains all weights",
            INVALID_TRAINING,
        )


def offloaded_pruning(run: TrainingRun) -> Iterator[Problem]:
    if run.training.pruning is not None and run.training.parallelism.cpu_offload:
        yield Problem(
            "spec.training.parallelism.cpuOffload",
            "true",
            "does not go with pruning, which looks at the weights where they are computed with",
            "use cpuOffload false, or leave pruning away",
            INVALID_TRAINING,
        )


def consolidation(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.consolidation
    if wanted is None:
        return
    names = [source.name for source in run.data.sources]
    if wanted.source not in names:
        yield Problem(
            "spec.training.consolidation.source",
            repr(wanted.source),
            "must name one of spec.data.sources",
            f"use {' or '.join(names)}, or add the older dataset to them",
            INVALID_TRAINING,
        )
    if run.init_from is None:
        yield Problem(
            "spec.training.consolidation",
            f"source {wanted.source!r}",
            "holds a trained model fast, and spec.model.initFrom names none",
            "name the model in spec.model.initFrom",
            INVALID_TRAINING,
        )


def conversations(run: TrainingRun) -> Iterator[Problem]:
    if run.training.objective != "sft":
        return
    kind = mixes_conversations(run.architecture)
    if kind is not None and run.data.packing is None:
        apart = ", data.packing bucketed" if kind in _CAUSAL else ""
        yield Problem(
            "spec.training.objective",
            "sft",
            f"packs conversations, which attention {kind} would mix",
            f"use a model of attention.kind mla without an indexer{apart}, or objective pretrain",
            INVALID_TRAINING,
        )


def answers(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.evaluation.answers
    if wanted is not None and run.training.objective != "sft":
        yield Problem(
            "spec.evaluation.answers",
            str(wanted),
            f"must be absent with objective {run.training.objective}, whose text has no questions",
            "leave it away, or use objective sft",
            INVALID_TRAINING,
        )


def mixes_conversations(architecture: Architecture) -> str | None:
    """What of its attention does not keep to the conversations of a packed row: only plain latent attention
    does. None: nothing."""
    if architecture.indexer is not None:
        return "mla with an indexer"
    return None if architecture.latent else architecture.attention.kind
