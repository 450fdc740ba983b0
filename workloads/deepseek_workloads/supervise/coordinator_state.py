"""What the supervisor of a coordinator pod knows of it, and the limits that it is held to. Plain values."""

from dataclasses import dataclass
from enum import Enum

from deepseek_workloads.contract.messages import Failure


class Child(Enum):
    ABSENT = "absent"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    PASSED = "passed"  # of preflight only


class Stop(Enum):
    CONTROL = "control"
    TERMINATION = "termination"


@dataclass(frozen=True)
class Policy:
    backoff_limit: int
    preflight_seconds: float  # until a store that cannot be reached ends the run
    control_stop_seconds: float  # for the last checkpoint
    termination_stop_seconds: float  # below the pod's grace period
    no_progress_seconds: float | None  # in which a store that fails again and again ends the run; None: never
    graceful_stop: bool  # ranks write a checkpoint; otherwise (datasets) stopping loses nothing
    drain_connections: bool = False  # clients are connected: they are let go before this pod ends
    epoch_per_attempt: bool = False  # a group that ended starts again only with its driver, on new processes


@dataclass(frozen=True)
class CoordinatorState:
    policy: Policy
    preflight: Child = Child.ABSENT
    head: Child = Child.ABSENT
    driver: Child = Child.ABSENT
    ranks_running: bool = False
    served: bool = False  # a replica was ready, at some time
    epoch: int = 0  # of Ray clusters in this pod
    attempts: int = 0  # starts of the driver
    restarts: int = 0  # of the driver or of its group
    failures: int = 0  # those that count
    last_failure: Failure | None = None
    last_driver_failure_counted: bool = False
    step_of_last_peer_loss: int | None = None
    store_failures: int = 0  # since the run has advanced
    preflight_delay: float | None = None
    head_delay: float | None = None
    driver_delay: float | None = None
    stop: Stop | None = None
    finished: bool = False
