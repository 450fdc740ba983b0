"""Whether a run whose model is a user's own (spec.model.function) goes together. Pure.

Refused is what needs the model's parts by name. Replicas and shards (zeroStage, cpuOffload, HSDP) do not.
"""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.layout_rules import INVALID_PARALLELISM
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_FIELD = "spec.model.function"


def degrees(run: TrainingRun) -> Iterator[Problem]:
    """Plans that cut the model's own matrices, layers, experts or sequences."""
    if run.model_function is None:
        return
    p = run.training.parallelism
    given = {
        "tensorParallelDegree": p.tensor_parallel_degree,
        "pipelineParallelDegree": p.pipeline_parallel_degree,
        "contextParallelDegree": p.context_parallel_degree,
        "expertParallelDegree": p.expert_parallel_degree,
    }
    for degree, value in given.items():
        if value > 1:
            yield Problem(
                f"spec.training.parallelism.{degree}",
                str(value),
                f"must be 1 with {_FIELD} ({run.model_function!r}), whose parts have no plan to be cut by",
                f"use {degree} 1 and a zeroStage of 1 to 3, which shards any model",
                INVALID_PARALLELISM,
            )


def settings(run: TrainingRun) -> Iterator[Problem]:
    if run.model_function is None:
        return
    for field, value, why, remedy in _needing_our_model(run):
        yield Problem(
            field, value, f"does not go with {_FIELD} {run.model_function!r}: {why}", remedy, INVALID_TRAINING
        )


def _needing_our_model(run: TrainingRun) -> Iterator[tuple[str, str, str, str]]:
    """Of each setting in use its field, its value, why it needs the built-in model, and a remedy."""
    t, field = run.training, "spec.training"
    if t.entrypoint is not None:
        why = "the entrypoint brings its model itself"
        yield f"{field}.entrypoint", t.entrypoint, why, "leave one of them away"
    if t.loss_function is not None:
        why = "it is given hidden states and a head's weight, and the module gives logits"
        yield f"{field}.lossFunction", t.loss_function, why, "give the module a method training_loss"
    if t.objective == "sft":
        why = "its attention would see from one packed conversation into the next"
        yield f"{field}.objective", "sft", why, "use pretrain, or an entrypoint of your own"
    if run.data.document_mask and t.objective != "sft":
        why = "its attention would see from one document into the next"
        remedy = "leave it away, or use an entrypoint, whose batches say which token is of which document"
        yield "spec.data.documentMask", "true", why, remedy
    if t.precision == "fp8":
        why = "which of its matrices may be in float8 is not known"
        yield f"{field}.precision", "fp8", why, "use bf16"
    if t.optimizer.name == "muon" and t.optimizer.function is None:
        why = "which of its matrices lie between embedding and head is not known"
        yield f"{field}.optimizer.name", "muon", why, "use adamw or amf, or name an optimizer.function"
    if run.init_from is not None:
        why = "an export has the built-in models' weights"
        yield "spec.model.initFrom", run.init_from.uri, why, "load first weights in the function"
    if run.architecture.vision is not None:
        yield "spec.model.vision", "given", "the module is called with tokens alone", "leave vision away"
    for name, value in _of_named_parts(run).items():
        why = "it works on parts of the built-in models"
        yield f"{field}.{name}", value, why, f"leave {name} away: the function decides it"
    if t.find_micro_batch_size:
        why = "it counts on the built-in models' sizes"
        yield f"{field}.findMicroBatchSize", "true", why, "set microBatchSize"


def _of_named_parts(run: TrainingRun) -> dict[str, str]:
    t = run.training
    given = {
        "freeze": t.freeze,
        "lora": t.lora,
        "quantisation": t.quantisation,
        "pruning": t.pruning,
        "consolidation": t.consolidation,
        "distillation": t.distillation,
        "precisionOverrides": t.precision_overrides,
    }
    return {name: "given" for name, setting in given.items() if setting}
