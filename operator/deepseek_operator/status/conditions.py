"""The conditions of a run, a function each: (view) -> what it says of one aspect. Pure.

Reasons are CamelCase words for programs; messages say what to do.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Literal

from deepseek_operator.api.meta import RunStatus
from deepseek_operator.status.draft import Draft
from deepseek_operator.status.outcome import FAILED, SUCCEEDED
from deepseek_operator.status.pod_state import PodState, Trouble, classify
from deepseek_operator.status.size import RESIZING
from deepseek_operator.status.view import WORKING, View

ACCEPTED: Final = "Accepted"
DATASETS_READY: Final = "DatasetsReady"
PODS_READY: Final = "PodsReady"
RUNNING: Final = "Running"
PROGRESSING: Final = "Progressing"
SUSPENDED: Final = "Suspended"
COORDINATOR_REACHABLE: Final = "CoordinatorReachable"
CONTROL_ACCEPTED: Final = "ControlAccepted"
REVISION_RECORDED: Final = "RevisionRecorded"
HEALTHY: Final = "Healthy"

NAME_CONFLICT: Final = "NameConflict"
DATASET_NOT_READY: Final = "DatasetNotReady"
REFUSED_BY_CLUSTER: Final = "RefusedByCluster"
COORDINATOR_UNREACHABLE: Final = "CoordinatorUnreachable"
CONTROL_REFUSED: Final = "ControlRefused"
REVISION_REFUSED: Final = "RevisionRefused"
FINISHED: Final = "Finished"
PREFLIGHT: Final = "Preflight"
STARTING: Final = "Starting"
STOPPING: Final = "Stopping"
RECOVERING: Final = "Recovering"
FINISHING: Final = "Finishing"

# A coordinator that is busy misses an answer now and then: so long its last one is taken to hold.
SILENCE_PATIENCE: Final = timedelta(seconds=30)

# What stands in the way of a pod set, the worst first.
_SEVERITY: Final = (Trouble.IMAGE, Trouble.CONFIG, Trouble.UNSCHEDULABLE)


def refused_since(status: RunStatus) -> datetime | None:
    """At the earliest; None where the API server did not refuse a pod that the run needs, the last time."""
    ready = (each for each in status.conditions if each.type == PODS_READY)
    return next((each.last_transition_time for each in ready if each.reason == REFUSED_BY_CLUSTER), None)


class Silence(Enum):
    """Of a coordinator that was at work, whose pod runs and is ready, and that gives no answer."""

    NONE = "none"
    BRIEF = "brief"
    LONG = "long"


def silence(view: View) -> Silence:
    coordinator, earlier = view.coordinator, view.earlier(RUNNING)
    if view.observed.progress is not None or coordinator is None or not coordinator.ready:
        return Silence.NONE
    pods = view.resource.status.pods
    same = pods is not None and pods.coordinator == coordinator.name
    if not same or classify(coordinator).over or earlier is None or earlier.status == "False":
        return Silence.NONE
    told = view.earlier(COORDINATOR_REACHABLE)
    since = told.last_transition_time if told and told.status == "False" else view.observed.now
    return Silence.LONG if view.observed.now - since >= SILENCE_PATIENCE else Silence.BRIEF


def accepted(view: View) -> Draft:
    observed = view.observed
    if observed.conflict:
        return Draft(ACCEPTED, "False", NAME_CONFLICT, observed.conflict)
    if observed.problems:
        message = "; ".join(str(problem) for problem in observed.problems)
        return Draft(ACCEPTED, "False", observed.problems[0].reason, message)
    return Draft(ACCEPTED, "True", ACCEPTED, "the spec is possible")


def datasets_ready(view: View) -> Draft:
    if view.observed.waiting:
        return Draft(DATASETS_READY, "False", DATASET_NOT_READY, "; ".join(view.observed.waiting))
    if view.observed.run is None and not view.resource.status.run_config_digest:
        return Draft(DATASETS_READY, "Unknown", STARTING, "the datasets have not been looked up")
    return Draft(DATASETS_READY, "True", "Pinned", "every dataset is ready, its digest pinned")


def pods_ready(view: View) -> Draft:
    idle = _idle(view)
    if idle is not None:
        return Draft(PODS_READY, "False", *idle)
    if view.observed.refused:
        return Draft(PODS_READY, "False", REFUSED_BY_CLUSTER, view.observed.refused)
    worst = _worst(view)
    if worst is not None:
        return Draft(PODS_READY, "False", worst.trouble, worst.message)
    gone = next((state for _, state in view.states if state.over), None)
    if gone is not None and _only_sent_home(view):
        return Draft(PODS_READY, "False", FINISHING, f"{gone.message}; the coordinator's verdict is awaited")
    if gone is not None:
        return Draft(PODS_READY, "False", RECOVERING, f"{gone.message}; another takes its place")
    if view.coordinator is None:
        return Draft(PODS_READY, "False", STARTING, "the coordinator pod is being created")
    if not view.coordinator.ready:
        return _coordinator_not_ready(view)
    if view.ready < view.desired:
        message = f"{view.ready} of {view.desired} worker pods run"
        return Draft(PODS_READY, "False", STARTING, message)
    return Draft(
        PODS_READY,
        "True",
        PODS_READY,
        f"the coordinator and all workers run ({view.ready} of {view.desired})",
    )


def running(view: View) -> Draft:
    idle = _idle(view)
    if idle is not None:
        return Draft(RUNNING, "False", *idle)
    if view.phase in WORKING:
        return Draft(RUNNING, "True", RUNNING, "the run's processes are at work")
    return _while_silent(view, RUNNING) or Draft(
        RUNNING, "False", STARTING, "the run's processes are not at work yet"
    )


def progressing(view: View) -> Draft:
    """False: something must happen outside of the run before it goes on."""
    idle = _idle(view)
    if idle is not None:
        return Draft(PROGRESSING, "True" if idle[0] == RESIZING else "False", *idle)
    if view.observed.refused:
        return Draft(PROGRESSING, "False", REFUSED_BY_CLUSTER, view.observed.refused)
    worst = _worst(view)
    if worst is not None:
        return Draft(PROGRESSING, "False", worst.trouble, worst.message)
    if _only_sent_home(view):
        return Draft(PROGRESSING, "True", FINISHING, "the workers have ended; the verdict is awaited")
    if any(state.over for _, state in view.states):
        return Draft(PROGRESSING, "True", RECOVERING, "lost or broken pods are being replaced")
    silent = _while_silent(view, PROGRESSING)
    if silent is not None and silent.status != "False":
        return silent
    phase = view.phase or STARTING
    said = view.observed.progress.message if view.observed.progress and view.phase else ""
    return Draft(PROGRESSING, "True", phase, said or f"the run is in phase {phase}")


def healthy(view: View) -> Draft | None:
    """Of a training run by its alerts; None before it has trained, and it stays while nothing is heard."""
    progress = view.observed.progress
    if progress is None or not progress.step:
        return None
    if not progress.alerts:
        return Draft(HEALTHY, "True", "NoAlerts", "no alert in the last steps")
    alert = progress.alerts[-1]
    message = f"step {alert.step}: {alert.message}; action {alert.action}"
    return Draft(HEALTHY, "False", alert.kind, message)


def succeeded(view: View) -> Draft:
    if view.outcome is None:
        return Draft(SUCCEEDED, "False", "NotFinished", "the run has not ended")
    status: Literal["True", "False"] = "True" if view.outcome.succeeded else "False"
    return Draft(SUCCEEDED, status, view.outcome.reason, view.outcome.message)


def failed(view: View) -> Draft:
    if view.outcome is None:
        return Draft(FAILED, "False", "NotFinished", "the run has not ended")
    status: Literal["True", "False"] = "False" if view.outcome.succeeded else "True"
    return Draft(FAILED, status, view.outcome.reason, view.outcome.message)


def revision_recorded(view: View) -> Draft | None:
    """None where there is nothing to record."""
    if view.observed.revision_refused:
        message = (
            f"{view.observed.revision_refused}; it is tried again, and the coordinator pod kept until then"
        )
        return Draft(REVISION_RECORDED, "False", REVISION_REFUSED, message)
    if view.outcome is None or not view.observed.revision:
        return None
    name = view.observed.revision
    return Draft(REVISION_RECORDED, "True", "Recorded", f"DeepSeekModelRevision {name} records the export")


def suspended(view: View) -> Draft | None:
    """None for a resource that was never suspended."""
    if view.resource.spec.suspend and view.outcome is None:
        if view.any_active:
            return Draft(SUSPENDED, "False", STOPPING, "a checkpoint is written, then the pods end")
        return Draft(SUSPENDED, "True", SUSPENDED, "no pod runs; set spec.suspend to false to go on")
    known = any(condition.type == SUSPENDED for condition in view.resource.status.conditions)
    return Draft(SUSPENDED, "False", "NotSuspended", "spec.suspend is false") if known else None


def coordinator_reachable(view: View) -> Draft | None:
    """None for a run whose coordinator has always answered."""
    idle = _idle(view)
    if idle is None and silence(view) is not Silence.NONE:
        message = (
            f"pod {view.coordinator.name if view.coordinator else ''} is ready, but does not answer the "
            "operator: look at its log, and whether a NetworkPolicy keeps the operator from it"
        )
        return Draft(COORDINATOR_REACHABLE, "False", COORDINATOR_UNREACHABLE, message)
    if view.earlier(COORDINATOR_REACHABLE) is None:
        return None
    if idle is not None:
        return Draft(COORDINATOR_REACHABLE, "Unknown", *idle)
    if view.observed.progress is None:
        return Draft(COORDINATOR_REACHABLE, "Unknown", STARTING, "the coordinator is starting")
    return Draft(COORDINATOR_REACHABLE, "True", "Answers", "the coordinator answers")


def control_accepted(view: View) -> Draft | None:
    """None for a run that has never refused the operator's control."""
    if view.observed.control_refused:
        return Draft(CONTROL_ACCEPTED, "False", CONTROL_REFUSED, view.observed.control_refused)
    if view.earlier(CONTROL_ACCEPTED) is None:
        return None
    return Draft(CONTROL_ACCEPTED, "True", "Accepted", "nothing that the operator asked for was refused")


ConditionOf = Callable[[View], Draft | None]


def drafts_of(view: View, functions: Iterable[ConditionOf]) -> list[Draft]:
    return [draft for function in functions if (draft := function(view)) is not None]


def _idle(view: View) -> tuple[str, str] | None:
    """Why there need not be any pods: (reason, message); None when there should be some."""
    if view.outcome is not None:
        return FINISHED, "the run has ended, its nodes are free"
    if view.refused:
        draft = accepted(view)
        return draft.reason, "the resource was refused: see condition Accepted"
    if view.resource.spec.suspend:
        return (
            (STOPPING, "the run is being suspended")
            if view.any_active
            else (SUSPENDED, "the run is suspended")
        )
    if view.observed.waiting:
        return DATASET_NOT_READY, "; ".join(view.observed.waiting)
    if view.resizing and not view.observed.refused:
        return RESIZING, "the run is being given another number of nodes: see condition Resized"
    return None


def _while_silent(view: View, kind: str) -> Draft | None:
    """What the condition says while the coordinator gives no answer; None: it has given one."""
    earlier = view.earlier(kind)
    match silence(view):
        case Silence.BRIEF if earlier is not None:
            return Draft(kind, earlier.status, earlier.reason, earlier.message)
        case Silence.LONG:
            words = f"the coordinator has not answered for {SILENCE_PATIENCE.seconds} s or more"
            return Draft(kind, "Unknown", COORDINATOR_UNREACHABLE, f"{words}: see {COORDINATOR_REACHABLE}")
        case _:
            return None


def _only_sent_home(view: View) -> bool:
    """Workers end by themselves when the run is done, shortly before the coordinator says how."""
    over = [pod.role for pod, state in view.states if state.over and state.trouble is Trouble.ENDED]
    return bool(over) and len(over) == sum(state.over for _, state in view.states) and set(over) == {"worker"}


def _worst(view: View) -> PodState | None:
    found = [state for _, state in view.states if state.trouble in _SEVERITY]
    return min(found, key=lambda state: _SEVERITY.index(state.trouble), default=None)


def _coordinator_not_ready(view: View) -> Draft:
    state = view.states[0][1]
    if state.trouble is Trouble.NONE:
        message = "the coordinator checks storage, data and checkpoint before workers are started"
        return Draft(PODS_READY, "False", PREFLIGHT, message)
    return Draft(PODS_READY, "False", STARTING, state.message)
