"""The pods of one set in a status: how many, and which numbers were used. Pure."""

from collections.abc import Iterable

from deepseek_operator.api.meta import PodSetStatus
from deepseek_operator.status.observed import PodFacts, newest
from deepseek_operator.status.pod_state import classify
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_WORKER


def pod_set_status(pods: tuple[PodFacts, ...], *, desired: int, earlier: PodSetStatus | None) -> PodSetStatus:
    """Numbers that were used stay used, also when the pods are gone."""
    earlier = earlier or PodSetStatus()
    places = newest(pods)
    coordinator = places.get((ROLE_COORDINATOR, 0))
    workers = [pod for (role, _), pod in sorted(places.items()) if role == ROLE_WORKER]
    return PodSetStatus(
        desired=desired,
        ready=sum(pod.ready and not classify(pod).over for pod in workers),
        coordinator=coordinator.name if coordinator else "",
        coordinator_incarnation=max(
            earlier.coordinator_incarnation, coordinator.incarnation if coordinator else 0
        ),
        worker_incarnations=_worker_incarnations(workers, earlier),
        replacements=max(sum(map(replaced, places.values())), earlier.replacements),
    )


def replaced(pod: PodFacts | None) -> int:
    """How many pods came before this one in its place; the first incarnation is 1."""
    return max(0, pod.incarnation - 1) if pod is not None else 0


def _worker_incarnations(workers: Iterable[PodFacts], earlier: PodSetStatus) -> list[int]:
    """By index; empty before there are workers."""
    highest = dict(enumerate(earlier.worker_incarnations))
    for pod in workers:
        highest[pod.index] = max(highest.get(pod.index, 0), pod.incarnation)
    return [highest.get(index, 0) for index in range(max(highest, default=-1) + 1)]
