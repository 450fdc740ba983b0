"""What the supervisor of a coordinator pod does next: an event in, a new state and actions out. Pure.

Preflight, then the driver beside the Ray head; a dead head takes all with it and comes back as a new Ray
cluster, a dead driver comes back alone. Without a head (Horovod) each attempt is an epoch: a dead driver or a
broken group takes all with it. Only failures of the run itself count against `backoff_limit`, and only until
a serving run has answered: from then on it is tried for ever, and what fails beside it is told, no more. A
store that is lost does not count, but has a time of its own in which the run must get on.
Nothing here knows processes, sockets or clocks.
"""

from dataclasses import replace

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.supervise import outcomes
from deepseek_workloads.supervise.backoff import next_delay
from deepseek_workloads.supervise.coordinator_events import (
    Action,
    Advanced,
    AskRanksToGoOn,
    AskRanksToStop,
    BecomeReady,
    DrainConnections,
    Drained,
    DriverExited,
    EndEpoch,
    Event,
    Finish,
    GroupFailed,
    HeadExited,
    KillAll,
    PreflightExited,
    RanksRunning,
    ReplicaReady,
    ServerFailed,
    SetTimer,
    StartDriver,
    Started,
    StartHead,
    StartPreflight,
    StopRequested,
    StopWithdrawn,
    Terminated,
    Timer,
    TimerFired,
)
from deepseek_workloads.supervise.coordinator_state import Child, CoordinatorState, Stop

Step = tuple[CoordinatorState, list[Action]]


def step(state: CoordinatorState, event: Event) -> Step:
    if state.finished:
        return state, []
    match event:
        case Started():
            return _started(state)
        case PreflightExited(exit_code, verdict):
            return _preflight_exited(state, exit_code, verdict)
        case HeadExited(_, uptime_seconds):
            return _head_exited(state, uptime_seconds)
        case DriverExited():
            return _driver_exited(state, event)
        case RanksRunning():
            return replace(state, ranks_running=state.driver is Child.RUNNING), []
        case Advanced():
            return replace(state, store_failures=0), []
        case ReplicaReady():
            return replace(state, served=True, failures=0, last_driver_failure_counted=False), []
        case ServerFailed(message):
            return _finish(state, outcomes.server_failed(message))
        case GroupFailed():
            return _group_failed(state, event)
        case StopRequested():
            return _stop(state, Stop.CONTROL)
        case StopWithdrawn():
            return _go_on(state)
        case Terminated():
            return _stop(state, Stop.TERMINATION)
        case Drained():
            return _drained(state)
        case TimerFired(timer):
            return _timer_fired(state, timer)


def _started(state: CoordinatorState) -> Step:
    state = replace(state, preflight=Child.RUNNING, head=Child.RUNNING, epoch=1)
    deadline = SetTimer(Timer.PREFLIGHT_DEADLINE, state.policy.preflight_seconds)
    return state, [StartPreflight(), StartHead(1), deadline]


def _preflight_exited(state: CoordinatorState, exit_code: int, verdict: Verdict | None) -> Step:
    if state.preflight is not Child.RUNNING:
        return state, []
    if exit_code == ExitCode.DONE:
        return _start_driver(replace(state, preflight=Child.PASSED), [BecomeReady()])
    failure = outcomes.preflight_failure(exit_code, verdict)
    if failure.kind == "final":
        return _finish(state, verdict or outcomes.failed(failure))
    if failure.kind == "failed":
        state = replace(state, failures=state.failures + 1)
        if state.failures > state.policy.backoff_limit:
            return _finish(state, outcomes.failed(failure))
    delay = max(1.0, next_delay(state.preflight_delay, uptime_seconds=0.0))
    state = replace(state, preflight=Child.BACKING_OFF, preflight_delay=delay, last_failure=failure)
    return state, [SetTimer(Timer.PREFLIGHT_BACKOFF, delay)]


def _head_exited(state: CoordinatorState, uptime_seconds: float) -> Step:
    """Ray without its head is another cluster: driver, workers and all start again. Nobody is to blame, also
    not for a driver that had noticed first."""
    if state.head is not Child.RUNNING:
        return state, []
    delay = next_delay(state.head_delay, uptime_seconds=uptime_seconds)
    refund = 1 if state.driver is Child.BACKING_OFF and state.last_driver_failure_counted else 0
    preflight = Child.BACKING_OFF if state.preflight is Child.RUNNING else state.preflight
    state = replace(
        state,
        head=Child.BACKING_OFF,
        head_delay=delay,
        driver=Child.ABSENT,
        preflight=preflight,
        ranks_running=False,
        failures=state.failures - refund,
        last_driver_failure_counted=False,
    )
    if state.stop is not None:
        return _finish(state, outcomes.stopped(state.stop is Stop.CONTROL, "Ray's head had just ended"))
    actions: list[Action] = [EndEpoch(), KillAll(), SetTimer(Timer.HEAD_BACKOFF, delay)]
    if preflight is Child.BACKING_OFF:  # it was killed with all others
        actions.append(SetTimer(Timer.PREFLIGHT_BACKOFF, 0.0))
    return state, actions


def _driver_exited(state: CoordinatorState, event: DriverExited) -> Step:
    if state.driver is not Child.RUNNING:
        return state, []
    state = replace(state, driver=Child.ABSENT, ranks_running=False)
    ending = outcomes.classify_driver_exit(event.exit_code, event.verdict)
    if isinstance(ending, Verdict):
        return _driver_gave_verdict(state, ending)
    if state.stop is not None:
        return _finish(state, outcomes.stopped(state.stop is Stop.CONTROL, ending.message))
    counted = ending.kind == "failed" and not state.served
    state = _with_failure(state, ending)
    if counted and state.failures > state.policy.backoff_limit:
        return _finish(state, outcomes.backoff_limit_exceeded(ending, state.policy.backoff_limit))
    state = replace(state, restarts=state.restarts + 1, last_driver_failure_counted=counted)
    return _back_off_driver(*_note_store_failure(state, ending), event.uptime_seconds)


def _back_off_driver(state: CoordinatorState, actions: list[Action], uptime_seconds: float) -> Step:
    delay = next_delay(state.driver_delay, uptime_seconds=uptime_seconds)
    state = replace(state, driver=Child.BACKING_OFF, driver_delay=delay)
    end: list[Action] = [EndEpoch(), KillAll()] if state.policy.epoch_per_attempt else []
    return state, [*actions, *end, SetTimer(Timer.DRIVER_BACKOFF, delay)]


def _driver_gave_verdict(state: CoordinatorState, verdict: Verdict) -> Step:
    if verdict.outcome != "Stopped":
        return _finish(state, verdict)
    if state.stop is Stop.TERMINATION:  # the run is to go on in the next pod
        return _finish(state, verdict.model_copy(update={"outcome": "Retry"}))
    if state.stop is None:  # the wish to stop was withdrawn after the ranks had followed it
        return _start_driver_again(state)
    return _finish(state, verdict)


def _group_failed(state: CoordinatorState, event: GroupFailed) -> Step:
    if state.driver is not Child.RUNNING or state.stop is not None:
        return state, []
    stuck = state.step_of_last_peer_loss is not None and event.step <= state.step_of_last_peer_loss
    failure = outcomes.explained(event.failure, workers_missing=event.workers_missing, stuck=stuck)
    if state.served:  # one replica; the others answer on
        return replace(state, last_failure=failure), []
    state = replace(
        _with_failure(state, failure),
        restarts=state.restarts + 1,
        ranks_running=False,
        step_of_last_peer_loss=event.step if failure.reason == reasons.PEER_LOST else None,
    )
    if failure.kind == "final":
        return _finish(state, outcomes.failed(failure))
    if failure.kind == "failed" and state.failures > state.policy.backoff_limit:
        return _finish(state, outcomes.backoff_limit_exceeded(failure, state.policy.backoff_limit))
    state, actions = _note_store_failure(state, failure)
    if state.policy.epoch_per_attempt:
        return _back_off_driver(state, actions, event.uptime_seconds)
    return state, actions


def _note_store_failure(state: CoordinatorState, failure: Failure) -> Step:
    """From the first one on the run has its time to get on. One that has lost a node waits for that."""
    if failure.kind == "lost":
        return replace(state, store_failures=0), []
    seconds = state.policy.no_progress_seconds
    if failure.reason != reasons.STORE_UNREACHABLE or failure.kind != "try-again" or seconds is None:
        return state, []
    first = state.store_failures == 0
    state = replace(state, store_failures=state.store_failures + 1)
    return state, [SetTimer(Timer.NO_PROGRESS, seconds)] if first else []


def _no_progress(state: CoordinatorState) -> Step:
    """One failure, and then work that takes long, is no reason to end it."""
    assert state.last_failure is not None
    if state.store_failures < 2 or state.stop is not None:
        return replace(state, store_failures=0), []
    seconds = state.policy.no_progress_seconds or 0
    return _finish(state, outcomes.no_progress(state.last_failure, seconds=seconds))


def _stop(state: CoordinatorState, stop: Stop) -> Step:
    if state.stop is Stop.TERMINATION or state.stop is stop:
        return state, []
    by_control = stop is Stop.CONTROL
    if state.policy.drain_connections and not by_control and state.driver is Child.RUNNING:
        deadline = SetTimer(Timer.STOP_DEADLINE, state.policy.termination_stop_seconds)
        return replace(state, stop=stop), [DrainConnections(), deadline]
    if not (state.policy.graceful_stop and state.ranks_running):
        return _finish(replace(state, stop=stop), outcomes.stopped(by_control, "no rank was running"))
    policy = state.policy
    seconds = policy.control_stop_seconds if by_control else policy.termination_stop_seconds
    return replace(state, stop=stop), [AskRanksToStop(), SetTimer(Timer.STOP_DEADLINE, seconds)]


def _drained(state: CoordinatorState) -> Step:
    if state.stop is None:
        return state, []
    return _finish(state, outcomes.stopped(state.stop is Stop.CONTROL, "every connection was let go"))


def _go_on(state: CoordinatorState) -> Step:
    if state.stop is not Stop.CONTROL:
        return state, []
    return replace(state, stop=None), [AskRanksToGoOn()]


def _timer_fired(state: CoordinatorState, timer: Timer) -> Step:
    match timer:
        case Timer.PREFLIGHT_BACKOFF if state.preflight is Child.BACKING_OFF:
            return replace(state, preflight=Child.RUNNING), [StartPreflight()]
        case Timer.HEAD_BACKOFF if state.head is Child.BACKING_OFF:
            state = replace(state, head=Child.RUNNING, epoch=state.epoch + 1)
            actions: list[Action] = [StartHead(state.epoch)]
            if state.preflight is Child.PASSED and state.driver is Child.ABSENT:
                return _start_driver(replace(state, restarts=state.restarts + 1), actions)
            return state, actions
        case Timer.DRIVER_BACKOFF if state.driver is Child.BACKING_OFF:
            return _start_driver_again(state)
        case Timer.PREFLIGHT_DEADLINE if state.preflight is not Child.PASSED:
            failure = state.last_failure or Failure(
                kind="final", reason=reasons.STORE_UNREACHABLE, message="preflight did not end in time"
            )
            return _finish(state, outcomes.failed(failure))
        case Timer.NO_PROGRESS if state.store_failures:
            return _no_progress(state)
        case Timer.STOP_DEADLINE if state.stop is not None:
            return _finish(
                state, outcomes.stopped(state.stop is Stop.CONTROL, "what ran did not end in time")
            )
        case _:
            return state, []


def _with_failure(state: CoordinatorState, failure: Failure) -> CoordinatorState:
    counted = 1 if failure.kind == "failed" and not state.served else 0
    return replace(state, failures=state.failures + counted, last_failure=failure)


def _start_driver(state: CoordinatorState, actions: list[Action]) -> Step:
    state = replace(
        state,
        driver=Child.RUNNING,
        attempts=state.attempts + 1,
        ranks_running=False,
    )
    return state, [*actions, StartDriver(state.attempts)]


def _start_driver_again(state: CoordinatorState) -> Step:
    if not state.policy.epoch_per_attempt:
        return _start_driver(state, [])
    state = replace(state, epoch=state.epoch + 1)
    return _start_driver(state, [EndEpoch(), StartHead(state.epoch)])


def _finish(state: CoordinatorState, verdict: Verdict) -> Step:
    state = replace(state, finished=True)
    # Workers of a run that goes on in another pod wait for it; all others are sent home.
    return state, [Finish(verdict, dismiss_workers=verdict.outcome != "Retry")]
