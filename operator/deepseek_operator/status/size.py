"""How many nodes a training job is to have now, and the run config of that size. Pure.

The pinned run config has the number that the job began with; `status.nodes` the one that was decided on last.
A job with minNodes goes on with fewer where no node is found for a worker, and looks for more by standby
pods: they wait for nodes while it trains, and once they have them it is resized.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.status.observed import PodFacts, Size, newest
from deepseek_operator.status.pod_state import classify
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_STANDBY, ROLE_WORKER
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.memory_rules import check_memory
from deepseek_workloads.plan.problem import Problem
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.plan.size_rules import run_of_size

RESIZED: Final = "Resized"  # type of a condition
RESIZING: Final = "Resizing"  # its reason until the pods of the new number exist
NODES_MISSING: Final = "NodesMissing"  # its reason while the run has fewer than it wants


@dataclass(frozen=True)
class Patience:
    """Seconds, of a job with minNodes. Together they bound how often it is resized."""

    # That a worker waits for a node before the run goes on without it; that standby pods wait.
    shrink: float = 300.0
    # That a coordinator leads a run of fewer nodes before more are looked for.
    grow: float = 600.0

    def looks(self, age: float) -> bool:
        """Whether standby pods wait for nodes now, so many seconds after the coordinator was created. They
        come again and again: what they hold in vain is free for others between."""
        return age % (self.grow + self.shrink) >= self.grow


def size_of(
    job: DeepSeekTrainingJob,
    pinned: TrainingRun,
    pods: Iterable[PodFacts],
    *,
    now: datetime,
    patience: Patience,
    refused_since: datetime | None = None,
) -> Size:
    """What the spec asks for, or what minNodes lets it be. A number that the rules refuse changes nothing.
    `refused_since`: pods that the run needs are refused by the API server (`conditions.refused_since`)."""
    workers, began = job.spec.workers, pinned.workers.num_nodes
    nodes, wanted = job.status.nodes or began, workers.num_nodes
    rules = _Rules(pinned, nodes)
    size = Size(
        nodes,
        pinned=began,
        problems=() if nodes == wanted else rules.problems(wanted),
        reduced=job.status.reduced and (workers.min_nodes or wanted) <= nodes < wanted,
    )
    if nodes != wanted and not size.problems and (job.spec.suspend or not size.reduced):
        return replace(size, nodes=wanted, reduced=False)
    return _elastic(size, job, rules, list(pods), now=now, patience=patience, refused_since=refused_since)


def _elastic(
    size: Size,
    job: DeepSeekTrainingJob,
    rules: "_Rules",
    pods: list[PodFacts],
    *,
    now: datetime,
    patience: Patience,
    refused_since: datetime | None,
) -> Size:
    """Of a run whose pods are those of its size; while it is being resized, the decision stays."""
    wanted = job.spec.workers.num_nodes
    least = job.spec.workers.min_nodes or wanted
    active = [pod for pod in newest(tuple(pods)).values() if size.fits(pod) and not classify(pod).over]
    coordinator = next((pod for pod in active if pod.role == ROLE_COORDINATOR), None)
    if least >= wanted or coordinator is None or job.spec.suspend:
        return size
    workers = [pod for pod in active if pod.role == ROLE_WORKER]
    placed = sum(bool(pod.node) for pod in workers)
    since = [pod.unschedulable_since for pod in workers]
    if refused_since is not None and len(workers) < size.nodes:
        since.append(max(refused_since, coordinator.created_at))
    if any(each is not None and (now - each).total_seconds() >= patience.shrink for each in since):
        fewer = rules.largest(range(placed, least - 1, -1))
        return size if fewer == size.nodes else replace(size, nodes=fewer, reduced=fewer < wanted)
    age = (now - coordinator.created_at).total_seconds()
    if not size.reduced or placed < size.nodes or not patience.looks(age):
        return size
    most = rules.largest(range(wanted, size.nodes, -1))
    standbys = [pod for pod in active if pod.role == ROLE_STANDBY]
    found = sum(bool(pod.node) for pod in standbys)
    if found and all(pod.node or pod.unschedulable for pod in standbys):
        grown = rules.largest(range(min(most, size.nodes + found), size.nodes, -1))
        if grown != size.nodes:
            return replace(size, nodes=grown, reduced=grown < wanted)
    return replace(size, standbys=most - size.nodes)


class _Rules:
    """Of a run that has begun, and has so many nodes. Those that this number fails, too, have become stricter
    since, and do not stand against another that needs no more."""

    def __init__(self, pinned: TrainingRun, present: int) -> None:
        self._pinned, self._present = pinned, present

    def largest(self, candidates: Iterable[int]) -> int:
        """The first that is allowed; the present number where none is."""
        return next((nodes for nodes in candidates if not self.problems(nodes)), self._present)

    def problems(self, nodes: int) -> tuple[Problem, ...]:
        """Why the run cannot have so many nodes; of its memory, where a layout of so many is possible."""
        run = run_of_size(self._pinned, nodes)
        found = _new(check_training(run, begun=True), self._known)
        return found or _new(check_memory(run), self._known_of_memory)

    @cached_property
    def _known(self) -> list[Problem]:
        return check_training(run_of_size(self._pinned, self._present), begun=True)

    @cached_property
    def _known_of_memory(self) -> list[Problem]:
        return check_memory(run_of_size(self._pinned, self._present))


def _new(found: Iterable[Problem], known: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(each for each in found if not any(_no_worse(each, other) for other in known))


def _no_worse(problem: Problem, known: Problem) -> bool:
    """The same problem, or the same lack of memory where less is needed, or as much."""
    same = (problem.field, problem.reason) == (known.field, known.reason)
    return problem == known or (same and 0 < problem.needed <= known.needed)
