"""What can happen to a coordinator pod, and what its supervisor can do. Plain values, no behaviour."""

from dataclasses import dataclass
from enum import Enum

from deepseek_workloads.contract.messages import Failure, Verdict

# ---- events


@dataclass(frozen=True)
class Started:
    pass


@dataclass(frozen=True)
class PreflightExited:
    exit_code: int
    verdict: Verdict | None


@dataclass(frozen=True)
class HeadExited:
    exit_code: int
    uptime_seconds: float


@dataclass(frozen=True)
class DriverExited:
    exit_code: int
    verdict: Verdict | None
    uptime_seconds: float


@dataclass(frozen=True)
class RanksRunning:
    """A rank has reported since the driver was started: there may be work that a checkpoint would save."""


@dataclass(frozen=True)
class Advanced:
    """The run is further than it ever was in this pod."""


@dataclass(frozen=True)
class ReplicaReady:
    """Of a serving run: a replica has passed its check and answers."""


@dataclass(frozen=True)
class ServerFailed:
    """Workers, ranks and the operator cannot reach this supervisor, and never will."""

    message: str


@dataclass(frozen=True)
class GroupFailed:
    """The driver says why its group ended; Ray Train's starts the group again unless it is told to end."""

    failure: Failure
    step: int  # the last one that any group of this pod reached
    workers_missing: bool  # a worker pod is not connected: it, not the run, is the cause
    uptime_seconds: float = 0.0  # of the driver


@dataclass(frozen=True)
class StopRequested:
    """The operator wants the run to stop (suspend)."""


@dataclass(frozen=True)
class StopWithdrawn:
    pass


@dataclass(frozen=True)
class Terminated:
    """SIGTERM: this pod is deleted, drained or preempted."""


@dataclass(frozen=True)
class Drained:
    """Nobody is connected any more: workers have left, clients too."""


class Timer(Enum):
    PREFLIGHT_BACKOFF = "preflight backoff"
    HEAD_BACKOFF = "head backoff"
    DRIVER_BACKOFF = "driver backoff"
    PREFLIGHT_DEADLINE = "preflight deadline"
    NO_PROGRESS = "no progress"
    STOP_DEADLINE = "stop deadline"


@dataclass(frozen=True)
class TimerFired:
    timer: Timer


Event = (
    Started
    | PreflightExited
    | HeadExited
    | DriverExited
    | RanksRunning
    | Advanced
    | ReplicaReady
    | ServerFailed
    | GroupFailed
    | StopRequested
    | StopWithdrawn
    | Terminated
    | Drained
    | TimerFired
)


# ---- actions


@dataclass(frozen=True)
class StartPreflight:
    pass


@dataclass(frozen=True)
class StartHead:
    """A new Ray cluster, or new ranks of Horovod; from here on workers may join."""

    epoch: int


@dataclass(frozen=True)
class StartDriver:
    attempt: int  # counts from 1


@dataclass(frozen=True)
class EndEpoch:
    """Close every worker's epoch connection, and let none in until the next StartHead."""


@dataclass(frozen=True)
class KillAll:
    """Every process of this pod but the supervisor."""


@dataclass(frozen=True)
class BecomeReady:
    """Preflight has passed: the operator creates the workers."""


@dataclass(frozen=True)
class AskRanksToStop:
    """Every rank's next report is answered with Stopped: write a checkpoint and end."""


@dataclass(frozen=True)
class AskRanksToGoOn:
    pass


@dataclass(frozen=True)
class DrainConnections:
    """Write the drain file, and say Drained when nobody is connected any more."""


@dataclass(frozen=True)
class SetTimer:
    timer: Timer
    seconds: float


@dataclass(frozen=True)
class Finish:
    """Kill what is left, write the verdict as the termination message, exit."""

    verdict: Verdict
    dismiss_workers: bool


Action = (
    StartPreflight
    | StartHead
    | StartDriver
    | EndEpoch
    | KillAll
    | BecomeReady
    | AskRanksToStop
    | AskRanksToGoOn
    | DrainConnections
    | SetTimer
    | Finish
)
