"""What the supervisor of a worker pod does next: an event in, a new state and actions out. Pure.

Ray (or in its place the process that starts Horovod's ranks) runs exactly while the epoch connection is up.
Only replicas, which need no head to answer, go on without it until there is a new one.
Nothing here knows processes, sockets or clocks.
"""

from dataclasses import dataclass, replace
from enum import Enum

from deepseek_workloads.supervise.backoff import next_delay

EXIT_DONE = 0
EXIT_OUT_OF_MEMORY = 137  # as the kernel would have given it
EXIT_TERMINATED = 143


# ---- events


@dataclass(frozen=True)
class Connected:
    """The coordinator has started a Ray head of this epoch."""

    epoch: int


@dataclass(frozen=True)
class Disconnected:
    pass


@dataclass(frozen=True)
class Dismissed:
    """The run is over."""


@dataclass(frozen=True)
class RayExited:
    exit_code: int
    uptime_seconds: float


@dataclass(frozen=True)
class BackoffOver:
    pass


@dataclass(frozen=True)
class Terminated:
    """SIGTERM: the pod is deleted, drained or preempted."""


@dataclass(frozen=True)
class DrainDeadline:
    pass


@dataclass(frozen=True)
class OutOfMemory:
    """The kernel killed a process of this pod for its memory limit."""


Event = (
    Connected | Disconnected | Dismissed | RayExited | BackoffOver | Terminated | DrainDeadline | OutOfMemory
)


# ---- actions


@dataclass(frozen=True)
class StartRay:
    epoch: int


@dataclass(frozen=True)
class KillAll:
    """Every process of the pod but the supervisor, and Ray's session with them."""


@dataclass(frozen=True)
class DrainRay:
    """Write the drain file, and send SIGTERM to `ray start` and nothing else: ranks train on until they have
    written their checkpoint."""


@dataclass(frozen=True)
class SetBackoff:
    seconds: float


@dataclass(frozen=True)
class SetDrainDeadline:
    pass


@dataclass(frozen=True)
class Exit:
    code: int


Action = StartRay | KillAll | DrainRay | SetBackoff | SetDrainDeadline | Exit


class Ray(Enum):
    ABSENT = "absent"
    RUNNING = "running"
    BACKING_OFF = "backing off"


@dataclass(frozen=True)
class WorkerState:
    serves: bool = False  # replicas; of no use without a head are ranks and tasks
    epoch: int | None = None  # of the connection; None: not connected
    ray: Ray = Ray.ABSENT
    delay: float | None = None  # what was waited before Ray's last start
    draining: bool = False
    exited: bool = False


Step = tuple[WorkerState, list[Action]]


def step(state: WorkerState, event: Event) -> Step:
    if state.exited:
        return state, []
    match event:
        case Connected(epoch):
            return _connected(state, epoch)
        case Disconnected():
            return _disconnected(state)
        case Dismissed():
            return _exit(state, EXIT_DONE)
        case RayExited(_, uptime_seconds):
            return _ray_exited(state, uptime_seconds)
        case BackoffOver():
            return _backoff_over(state)
        case Terminated():
            return _terminated(state)
        case DrainDeadline():
            return _exit(state, EXIT_TERMINATED) if state.draining else (state, [])
        case OutOfMemory():
            return _exit(state, EXIT_OUT_OF_MEMORY)


def _connected(state: WorkerState, epoch: int) -> Step:
    if state.draining or state.epoch == epoch:
        return state, []
    actions: list[Action] = []
    if state.ray is not Ray.ABSENT:  # of the head before this one
        actions.append(KillAll())
    state = replace(state, epoch=epoch, ray=Ray.RUNNING, delay=None)
    return state, [*actions, StartRay(epoch)]


def _disconnected(state: WorkerState) -> Step:
    if state.epoch is None:
        return state, []
    if state.serves:
        return replace(state, epoch=None), []
    if state.draining:  # without a head no checkpoint can come of it
        return _exit(state, EXIT_TERMINATED)
    return replace(state, epoch=None, ray=Ray.ABSENT, delay=None), [KillAll()]


def _ray_exited(state: WorkerState, uptime_seconds: float) -> Step:
    if state.ray is not Ray.RUNNING:
        return state, []
    if state.draining:
        return _exit(state, EXIT_TERMINATED)
    delay = next_delay(state.delay, uptime_seconds=uptime_seconds)
    state = replace(state, ray=Ray.BACKING_OFF, delay=delay)
    return state, [KillAll(), SetBackoff(delay)]


def _backoff_over(state: WorkerState) -> Step:
    if state.ray is not Ray.BACKING_OFF or state.epoch is None:
        return state, []
    return replace(state, ray=Ray.RUNNING), [StartRay(state.epoch)]


def _terminated(state: WorkerState) -> Step:
    if state.draining:
        return state, []
    if state.ray is not Ray.RUNNING:
        return _exit(state, EXIT_TERMINATED)
    return replace(state, draining=True), [DrainRay(), SetDrainDeadline()]


def _exit(state: WorkerState, code: int) -> Step:
    state = replace(state, ray=Ray.ABSENT, exited=True)
    return state, [KillAll(), Exit(code)]
