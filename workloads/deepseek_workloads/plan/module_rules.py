"""Whether the modules that a training's settings name are modules of its model. Pure."""

from collections.abc import Iterator

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.modules import examples, fitting, module_names
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem


def precision_overrides(run: TrainingRun) -> Iterator[Problem]:
    names = module_names(run.architecture) if run.training.precision_overrides else []
    for index, override in enumerate(run.training.precision_overrides):
        if not fitting(names, [override.modules]):
            yield Problem(
                f"spec.training.precisionOverrides[{index}].modules",
                override.modules,
                "must fit a module of the model",
                f"use names such as {examples(names)}",
                INVALID_TRAINING,
            )
