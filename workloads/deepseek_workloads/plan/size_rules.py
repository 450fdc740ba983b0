"""A run on another number of nodes, and whether minNodes lets it have one. Pure.

Apart from `rules`, which it asks about every smaller number, since it is no rule of the trainer's: a run that
was resized to its smallest number has none below.
"""

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.layout_rules import INVALID_PARALLELISM
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.rules import check_training


def run_of_size(run: TrainingRun, nodes: int) -> TrainingRun:
    """The same run on so many nodes: nothing else of it depends on them."""
    sized = {"num_nodes": nodes, "min_nodes": min(run.workers.min_nodes, nodes)}
    return run.model_copy(update={"workers": run.workers.model_copy(update=sized)})


def check_min_nodes(run: TrainingRun) -> list[Problem]:
    """Of a run that `check_training` lets pass: whether any number below numNodes and not below minNodes is
    allowed too. Where none is, a run that lacks a node would wait for it as without minNodes."""
    least, most = run.workers.min_nodes, run.workers.num_nodes
    if least >= most or _largest(run, range(most - 1, least - 1, -1)) is not None:
        return []
    why = check_training(run_of_size(run, most - 1))[0]
    numbers = f"{least}" if least == most - 1 else f"any of {least} to {most - 1}"
    smaller = _largest(run, range(least - 1, 0, -1))
    return [
        Problem(
            "spec.workers.minNodes",
            str(least),
            f"must allow a number below numNodes ({most}) that the run could go on with, and it cannot with "
            f"{numbers} ({why.field} {why.value}: {why.rule})",
            "leave minNodes away" if smaller is None else f"use at most {smaller}, or leave minNodes away",
            INVALID_PARALLELISM,
        )
    ]


def _largest(run: TrainingRun, candidates: range) -> int | None:
    """The first that the rules allow."""
    return next((nodes for nodes in candidates if not check_training(run_of_size(run, nodes))), None)
