"""Whether the modules that a training's settings name are modules of its model. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.modules import (
    examples,
    fitting,
    gated_networks,
    holding_matrices,
    linear_names,
    module_names,
    with_precision,
)
from deepseek_workloads.plan.problem import INVALID_TRAINING, Problem
from deepseek_workloads.plan.tensors import parameter_shapes


def precision_overrides(run: TrainingRun) -> Iterator[Problem]:
    yield from _unknown(run.architecture, _overridden(run))


def precision_has_effect(run: TrainingRun) -> Iterator[Problem]:
    """Each pattern names a product: its rounding is all that a precision changes."""
    overridden = _overridden(run)
    names = module_names(run.architecture) if overridden else []
    products = with_precision(run.architecture) if overridden else []
    for field, pattern in overridden.items():
        if fitting(names, [pattern]) and not fitting(products, [pattern]):
            yield Problem(
                field,
                pattern,
                "names only what has no precision to choose: norms, routers and gates of heads are computed "
                "in float32 always, and the embedding is looked up",
                f"leave it away, or use names such as {examples(products)}",
                INVALID_TRAINING,
            )


def _overridden(run: TrainingRun) -> dict[str, str]:
    """The patterns by field."""
    return {
        f"spec.training.precisionOverrides[{index}].modules": override.modules
        for index, override in enumerate(run.training.precision_overrides)
    }


def initialization(run: TrainingRun) -> Iterator[Problem]:
    names = list(parameter_shapes(run.architecture)) if run.architecture.initialization else []
    for index, rule in enumerate(run.architecture.initialization):
        if not fitting(names, [rule.pattern]):
            field = f"spec.model.architecture.initialization[{index}].pattern"
            yield _fits_none(field, rule.pattern, "a weight", names)


def lora(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.lora
    if wanted is not None:
        found = linear_names(run.architecture)
        yield from _among(run, "lora.targets", wanted.targets, "a matrix", found)


def quantisation(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.quantisation
    if wanted is not None:
        found = holding_matrices(run.architecture)
        yield from _among(run, "quantisation.modules", wanted.modules, "a module with matrices", found)


def pruning(run: TrainingRun) -> Iterator[Problem]:
    wanted = run.training.pruning
    if wanted is not None:
        found = gated_networks(run.architecture)
        yield from _among(run, "pruning.modules", wanted.modules, "a gated network", list(found))
        for name in fitting(found, wanted.modules):
            if int(found[name] * wanted.sparsity) == 0:
                yield Problem(
                    "spec.training.pruning.sparsity",
                    str(wanted.sparsity),
                    f"closes none of the {found[name]} channels of {name}",
                    f"use at least {1 / found[name]:.2g}, or leave it out of pruning.modules",
                    INVALID_TRAINING,
                )
                return


def _among(
    run: TrainingRun, setting: str, patterns: Sequence[str], what: str, names: Sequence[str]
) -> Iterator[Problem]:
    """Each pattern fits a module, and one of them at least one of `names`."""
    field = f"spec.training.{setting}"
    unknown = list(_unknown(run.architecture, _numbered(field, patterns)))
    yield from unknown
    if not unknown and not fitting(names, patterns):
        yield _fits_none(field, ", ".join(patterns), what, names)


def _unknown(architecture: Architecture, patterns: Mapping[str, str]) -> Iterator[Problem]:
    """By field; a misspelt one must not be overlooked because others fit."""
    names = module_names(architecture) if patterns else []
    for field, pattern in patterns.items():
        if not fitting(names, [pattern]):
            yield _fits_none(field, pattern, "a module", names)


def _numbered(field: str, patterns: Sequence[str]) -> dict[str, str]:
    return {f"{field}[{index}]": pattern for index, pattern in enumerate(patterns)}


def _fits_none(field: str, value: str, what: str, names: Sequence[str]) -> Problem:
    return Problem(
        field,
        value,
        f"must fit {what} of the model",
        f"use names such as {examples(names)}",
        INVALID_TRAINING,
    )
