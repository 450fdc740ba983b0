"""How often a run was restarted, over all its coordinator pods. Pure.

A suspension or another size, which was wanted, is none. A coordinator counts the restarts in its own pod
only, so the status keeps how many there were before that pod.
"""

from dataclasses import dataclass

from deepseek_operator.api.meta import RestartsBefore
from deepseek_operator.status.pod_state import classify, verdict_of
from deepseek_operator.status.text import count
from deepseek_operator.status.view import View


@dataclass(frozen=True)
class Restarts:
    total: int
    before: RestartsBefore  # the present coordinator pod; after a suspension, the next one


def count_restarts(view: View) -> Restarts:
    status, progress = view.resource.status, view.observed.progress
    number = _newest_incarnation(view)
    in_place = count(progress.restarts) if progress is not None else 0
    before = status.restarts_before
    if before is None:
        before = _before(number, max(number - 1, status.restarts - in_place))
    elif number > before.coordinator_incarnation:
        # A pass that was cut off between the pods of a new size and the status: nothing broke.
        lost = 0 if view.was_resizing else number - before.coordinator_incarnation
        before = _before(number, status.restarts + lost)
    total = count(max(status.restarts, before.restarts + in_place))
    if _was_meant_to_end(view):
        before = _before(number + 1, total)
    return Restarts(total, before)


def _before(incarnation: int, restarts: int) -> RestartsBefore:
    return RestartsBefore(coordinator_incarnation=max(1, incarnation), restarts=max(0, restarts))


def _newest_incarnation(view: View) -> int:
    """Of coordinator pods, also of one that is gone; 0: there was none."""
    pods = view.resource.status.pods
    known = pods.coordinator_incarnation if pods is not None else 0
    return max(known, view.coordinator.incarnation if view.coordinator is not None else 0)


def _was_meant_to_end(view: View) -> bool:
    """By a suspension, also one that was withdrawn when the run had stopped already, or for another size."""
    coordinator = view.coordinator
    if coordinator is None:
        return view.resource.spec.suspend or view.resizing
    verdict = verdict_of(coordinator)
    stopped = verdict is not None and verdict.outcome == "Stopped"
    meant = stopped or view.resource.spec.suspend or view.observed.outdated(coordinator)
    return classify(coordinator).over and meant
