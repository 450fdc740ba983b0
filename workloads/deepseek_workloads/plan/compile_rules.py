"""Whether the layers of a run are compiled (spec.training.compile). Pure; whether an image has a compiler is
found out where the run starts.
"""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

COMPILE_FIELD = "spec.training.compile"


def compiled(run: TrainingRun) -> Iterator[Problem]:
    """What `always` asks for in vain."""
    if run.training.compile != "always":
        return
    for setting, why, remedy in _obstacles(run):
        yield Problem(
            COMPILE_FIELD,
            "always",
            f"does not go with {setting}: {why}",
            f"use auto or never, or {remedy}",
            INVALID_TRAINING,
        )


def is_compiled(run: TrainingRun, *, gpu: bool) -> bool:
    """`auto`: on GPUs, where nothing is in the way; a CPU gains little (docs/training-speed.md)."""
    wanted = run.training.compile
    if wanted == "auto":
        return gpu and not any(True for _ in _obstacles(run))
    return wanted == "always"


def _obstacles(run: TrainingRun) -> Iterator[tuple[str, str, str]]:
    """Of each setting its name, why layers are not compiled with it, and what to do about it."""
    t = run.training
    p = t.parallelism
    if t.entrypoint is not None:
        yield f"entrypoint {t.entrypoint}", "it brings its model itself", "compile the model in its code"
    if run.model_function is not None:
        why = "what its layers do in Python is not known"
        yield f"spec.model.function {run.model_function!r}", why, "compile the layers in the function"
    degrees = {
        "tensorParallelDegree": (p.tensor_parallel_degree, "ranks exchange within a layer"),
        "contextParallelDegree": (p.context_parallel_degree, "ranks exchange within a layer"),
        "pipelineParallelDegree": (p.pipeline_parallel_degree, "schedules divide the backward pass"),
    }
    for degree, (value, why) in degrees.items():
        if value > 1:
            yield f"parallelism.{degree} {value}", why, f"use {degree} 1"
    if p.expert_parallel_degree > 1 and t.activation_checkpointing == "selective":
        why = "what is to be kept is not seen in layers that are compiled in parts"
        yield "activationCheckpointing selective and expertParallelDegree above 1", why, "use none or full"
    if t.precision_overrides:
        why = "layers of one kind share kernels, and these have other precisions"
        yield "precisionOverrides", why, "leave them away"
    if run.masks_documents:
        setting = "objective sft" if t.objective == "sft" else "data.documentMask"
        why = "sizes of documents are those of a batch, and each batch would be compiled anew"
        yield setting, why, "use data.packing bucketed" if t.objective == "sft" else "leave documentMask away"
    rates = run.architecture.dropout
    if rates is not None and any((rates.attention, rates.residual, rates.embedding)):
        why = "masks depend on the number of the step, and each would be compiled anew"
        yield "dropout", why, "leave spec.model.dropout away"
