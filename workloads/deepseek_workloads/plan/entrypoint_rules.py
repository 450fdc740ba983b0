"""What does not go with a training loop of the user's own. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from deepseek_workloads.contract.monitoring import ACTIVATION_RANGE_EVERY_STEPS, Alerts, ExpertLoadRule
from deepseek_workloads.contract.run_config import Evaluation, Parallelism, Training, TrainingRun
from deepseek_workloads.contract.wire import WireModel
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem

_OF_THE_LOOP = (
    *("objective", "lora", "quantisation", "pruning", "distillation", "consolidation", "curriculum"),
    *("freeze", "precision_overrides", "activation_checkpointing", "loss_function"),
    "find_micro_batch_size",
)
# What run configs have as the default: today, and before experts' load had `idleShare` and `tokenShare`.
_ALERTS_UNASKED: Final = (
    Alerts(),
    Alerts(expert_load=ExpertLoadRule(threshold=10, token_share=0.75)),
    Alerts(expert_load=ExpertLoadRule(threshold=10)),
)


def entrypoint(run: TrainingRun) -> Iterator[Problem]:
    """What belongs to the loop that it replaces would be passed over without a word."""
    found = {
        f"spec.training.{Training.model_fields[setting].alias or setting}": getattr(run.training, setting)
        for setting in _OF_THE_LOOP
        if _is_set(run.training, setting)
    }
    found |= {field: "given" for field, is_set in _beside(run) if is_set}
    yield from _of_the_loop(run, found)


def around(run: TrainingRun) -> Iterator[Problem]:
    """Likewise; jobs that have begun may have these."""
    yield from _of_the_loop(run, {field: "given" for field, is_set in _around(run) if is_set})


def _of_the_loop(run: TrainingRun, found: Mapping[str, object]) -> Iterator[Problem]:
    if run.training.entrypoint is None:
        return
    for field, value in found.items():
        yield Problem(
            field,
            value if isinstance(value, str) else "given",
            f"belongs to the built-in loop, which entrypoint {run.training.entrypoint} replaces",
            f"leave {field.rpartition('.')[2]} away: the code of the entrypoint decides it",
            INVALID_TRAINING,
        )


def _beside(run: TrainingRun) -> Iterator[tuple[str, bool]]:
    yield "spec.model.initFrom", run.init_from is not None
    yield "spec.monitoring.histogramsEverySteps", _is_set(run.monitoring, "histograms_every_steps")
    yield "spec.monitoring.profile", _is_set(run.monitoring, "profile")
    yield "spec.alerts", run.alerts not in _ALERTS_UNASKED


def _around(run: TrainingRun) -> Iterator[tuple[str, bool]]:
    yield "spec.training.optimizer.function", run.training.optimizer.function is not None
    p = run.training.parallelism
    yield "spec.training.parallelism.zeroStage", run.backend == "ray" and _is_set(p, "zero_stage")
    for setting in ("cpu_offload", "data_parallel_replicate_degree"):
        yield f"spec.training.parallelism.{Parallelism.model_fields[setting].alias}", _is_set(p, setting)
    for setting in ("every_steps", "max_samples", "answers", "prompts", "sources"):
        yield f"spec.evaluation.{Evaluation.model_fields[setting].alias}", _is_set(run.evaluation, setting)
    looks = run.monitoring.activation_range_every_steps
    yield (
        "spec.monitoring.activationRangeEverySteps",
        looks not in (None, ACTIVATION_RANGE_EVERY_STEPS),  # the latter is there unasked
    )


def _is_set(settings: WireModel, name: str) -> bool:
    """To another value than its default."""
    default = type(settings).model_fields[name].get_default(call_default_factory=True)
    return bool(getattr(settings, name) != default)
