from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.supervise import coordinator_machine as machine
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
from deepseek_workloads.supervise.coordinator_state import CoordinatorState, Policy

POLICY = Policy(
    backoff_limit=2,
    preflight_seconds=600,
    control_stop_seconds=900,
    termination_stop_seconds=27,
    no_progress_seconds=3600,
    graceful_stop=True,
)
SUCCEEDED = Verdict(outcome="Succeeded", reason=reasons.COMPLETED, step=100)
STOPPED = Verdict(outcome="Stopped", reason=reasons.STOPPED, step=50)
BAD_BUCKET = Verdict(outcome="Failed", reason=reasons.BUCKET_NOT_FOUND, exit_code=ExitCode.BAD_INPUT)
STORE_AWAY = Verdict(outcome="Retry", reason=reasons.STORE_UNREACHABLE, exit_code=ExitCode.TRY_AGAIN)

PASSED = [Started(), PreflightExited(0, None)]
TRAINING = [*PASSED, RanksRunning()]
CRASHED = DriverExited(exit_code=1, verdict=None, uptime_seconds=5)
KILLED = DriverExited(exit_code=137, verdict=None, uptime_seconds=5)
HEAD_DIED = HeadExited(exit_code=1, uptime_seconds=300)
HEAD_AGAIN = TimerFired(Timer.HEAD_BACKOFF)
DRIVER_AGAIN = TimerFired(Timer.DRIVER_BACKOFF)


def group_failed(
    kind: str, reason: str = reasons.TRAINING_FAILED, *, step: int = 7, workers_missing: bool = False
) -> GroupFailed:
    failure = Failure.model_validate({"kind": kind, "reason": reason, "message": "rank 1: oh no"})
    return GroupFailed(failure, step=step, workers_missing=workers_missing)


def run(*events: Event, policy: Policy = POLICY) -> tuple[CoordinatorState, list[Action]]:
    """The actions of the last event."""
    state, actions = CoordinatorState(policy), []
    for event in events:
        state, actions = machine.step(state, event)
    return state, actions


def finish_of(actions: list[Action]) -> Finish:
    (finish,) = actions
    assert isinstance(finish, Finish)
    return finish


# ---- the way to the end


def test_preflight_and_the_head_start_side_by_side() -> None:
    assert run(Started())[1] == [StartPreflight(), StartHead(1), SetTimer(Timer.PREFLIGHT_DEADLINE, 600)]


def test_workers_and_the_driver_come_once_preflight_has_passed() -> None:
    assert run(*PASSED)[1] == [BecomeReady(), StartDriver(1)]


def test_the_verdict_of_the_driver_ends_the_run_and_sends_the_workers_home() -> None:
    actions = run(*TRAINING, DriverExited(0, SUCCEEDED, 60))[1]
    assert actions == [Finish(SUCCEEDED, dismiss_workers=True)]


# ---- preflight


def test_bad_input_ends_the_run_with_preflights_own_words() -> None:
    actions = run(Started(), PreflightExited(ExitCode.BAD_INPUT, BAD_BUCKET))[1]
    assert finish_of(actions).verdict == BAD_BUCKET


def test_a_store_that_is_away_is_asked_again() -> None:
    away = PreflightExited(ExitCode.TRY_AGAIN, STORE_AWAY)
    assert run(Started(), away)[1] == [SetTimer(Timer.PREFLIGHT_BACKOFF, 1.0)]
    assert run(Started(), away, TimerFired(Timer.PREFLIGHT_BACKOFF))[1] == [StartPreflight()]


def test_a_store_that_stays_away_ends_the_run_with_its_reason() -> None:
    away = PreflightExited(ExitCode.TRY_AGAIN, STORE_AWAY)
    verdict = finish_of(run(Started(), away, TimerFired(Timer.PREFLIGHT_DEADLINE))[1]).verdict
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.STORE_UNREACHABLE)


def test_the_preflight_deadline_means_nothing_once_it_has_passed() -> None:
    assert run(*PASSED, TimerFired(Timer.PREFLIGHT_DEADLINE))[1] == []


# ---- failures of the driver


def test_a_crashed_driver_is_started_again_in_place_and_counts() -> None:
    state, actions = run(*TRAINING, CRASHED)
    assert actions == [SetTimer(Timer.DRIVER_BACKOFF, 0.0)]
    assert (state.failures, state.restarts) == (1, 1)
    assert run(*TRAINING, CRASHED, DRIVER_AGAIN)[1] == [StartDriver(2)]


def test_more_failures_than_the_limit_end_the_run_and_name_the_last() -> None:
    again = [CRASHED, DRIVER_AGAIN]
    verdict = finish_of(run(*TRAINING, *again, *again, KILLED)[1]).verdict
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.BACKOFF_LIMIT_EXCEEDED)
    assert "killed by signal 9" in verdict.message


def test_a_lost_store_never_counts() -> None:
    lost = DriverExited(ExitCode.TRY_AGAIN, STORE_AWAY, 5)
    events = [event for _ in range(9) for event in (lost, DRIVER_AGAIN)]
    state, actions = run(*TRAINING, *events)
    assert actions == [StartDriver(10)]
    assert state.failures == 0


LOST_STORE = group_failed("try-again", reasons.STORE_UNREACHABLE)
AN_HOUR = SetTimer(Timer.NO_PROGRESS, 3600)
AN_HOUR_LATER = TimerFired(Timer.NO_PROGRESS)


def test_a_lost_store_starts_the_time_in_which_the_run_must_get_on() -> None:
    assert run(*TRAINING, LOST_STORE)[1] == [AN_HOUR]
    assert run(*TRAINING, LOST_STORE, LOST_STORE)[1] == []
    assert AN_HOUR in run(*TRAINING, DriverExited(ExitCode.TRY_AGAIN, STORE_AWAY, 5))[1]


def test_a_store_that_stays_away_gives_the_accelerators_back() -> None:
    verdict = finish_of(run(*TRAINING, LOST_STORE, LOST_STORE, AN_HOUR_LATER)[1]).verdict
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.STORE_UNREACHABLE)
    assert "no step was gained for 60 minutes: rank 1: oh no" in verdict.message


@pytest.mark.parametrize(
    "since",
    [
        [LOST_STORE],  # once; what followed takes long
        [LOST_STORE, LOST_STORE, Advanced()],
        [LOST_STORE, LOST_STORE, group_failed("lost", reasons.NODE_LOST)],  # it waits for a node
        [LOST_STORE, LOST_STORE, Advanced(), LOST_STORE],
    ],
)
def test_a_run_that_got_on_or_waits_for_something_else_is_left_alone(since: list[Event]) -> None:
    assert run(*TRAINING, *since, AN_HOUR_LATER)[1] == []


def test_a_served_model_waits_for_its_store_for_ever() -> None:
    assert run(*PASSED, LOST_STORE, LOST_STORE, policy=SERVING)[1] == []


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [
        (ExitCode.BAD_INPUT, reasons.INVALID_RUN_CONFIG),
        (ExitCode.FENCED, reasons.FENCED),
        (ExitCode.NUMERIC_FAILURE, reasons.NUMERIC_FAILURE),
    ],
)
def test_final_exit_codes_are_never_retried(exit_code: int, reason: str) -> None:
    verdict = finish_of(run(*TRAINING, DriverExited(exit_code, None, 5))[1]).verdict
    assert (verdict.outcome, verdict.reason, verdict.exit_code) == ("Failed", reason, exit_code)


def test_success_without_a_verdict_is_a_failure() -> None:
    state, _ = run(*TRAINING, DriverExited(0, None, 60))
    assert state.failures == 1


def test_a_verdict_of_success_does_not_cover_a_crash_after_it() -> None:
    state, _ = run(*TRAINING, DriverExited(139, SUCCEEDED, 60))
    assert state.failures == 1


# ---- failures of the group, which Ray Train starts again by itself


def test_a_lost_node_never_counts() -> None:
    state, actions = run(*TRAINING, *[group_failed("lost", reasons.NODE_LOST)] * 9)
    assert actions == []
    assert (state.failures, state.restarts) == (0, 9)


def test_the_runs_own_failures_count_up_to_the_limit() -> None:
    failed = group_failed("failed")
    assert run(*TRAINING, failed, failed)[1] == []
    verdict = finish_of(run(*TRAINING, failed, failed, failed)[1]).verdict
    assert verdict.reason == reasons.BACKOFF_LIMIT_EXCEEDED
    assert "rank 1: oh no" in verdict.message


def test_a_final_failure_ends_the_run_at_once() -> None:
    verdict = finish_of(run(*TRAINING, group_failed("final", reasons.FENCED))[1]).verdict
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.FENCED)


def test_a_broken_collective_counts_only_when_the_run_is_stuck_at_a_step() -> None:
    first, later, same = (group_failed("try-again", reasons.PEER_LOST, step=s) for s in (7, 9, 9))
    assert run(*TRAINING, first, later)[0].failures == 0
    assert run(*TRAINING, first, later, same)[0].failures == 1


def test_a_broken_collective_is_explained_by_a_worker_that_is_missing() -> None:
    lost = group_failed("try-again", reasons.PEER_LOST, workers_missing=True)
    state, _ = run(*TRAINING, lost, lost, lost, lost)
    assert state.failures == 0
    assert state.last_failure is not None
    assert state.last_failure.reason == reasons.NODE_LOST


# ---- the head


def test_a_dead_head_ends_the_epoch_before_a_new_one_begins() -> None:
    assert run(*TRAINING, HEAD_DIED)[1] == [EndEpoch(), KillAll(), SetTimer(Timer.HEAD_BACKOFF, 0.0)]
    assert run(*TRAINING, HEAD_DIED, HEAD_AGAIN)[1] == [StartHead(2), StartDriver(2)]


def test_a_dead_head_does_not_count_nor_does_the_driver_that_saw_it_first() -> None:
    state, _ = run(*TRAINING, CRASHED, HEAD_DIED, HEAD_AGAIN)
    assert state.failures == 0


def test_preflight_killed_with_a_dead_head_is_asked_again() -> None:
    actions = run(Started(), HEAD_DIED)[1]
    assert SetTimer(Timer.PREFLIGHT_BACKOFF, 0.0) in actions


# ---- stopping


def test_stop_asks_the_ranks_for_a_checkpoint_and_their_verdict_is_the_runs() -> None:
    assert run(*TRAINING, StopRequested())[1] == [AskRanksToStop(), SetTimer(Timer.STOP_DEADLINE, 900)]
    actions = run(*TRAINING, StopRequested(), DriverExited(0, STOPPED, 60))[1]
    assert actions == [Finish(STOPPED, dismiss_workers=True)]


def test_stop_before_any_rank_runs_stops_at_once() -> None:
    assert finish_of(run(Started(), StopRequested())[1]).verdict.outcome == "Stopped"
    assert finish_of(run(*PASSED, StopRequested())[1]).verdict.outcome == "Stopped"


def test_a_dataset_run_stops_at_once() -> None:
    policy = replace(POLICY, graceful_stop=False)
    assert finish_of(run(*TRAINING, StopRequested(), policy=policy)[1]).verdict.outcome == "Stopped"


SERVING = replace(POLICY, graceful_stop=False, drain_connections=True, no_progress_seconds=None)


def test_sigterm_lets_the_clients_of_a_serving_run_go_first() -> None:
    _, actions = run(*PASSED, Terminated(), policy=SERVING)
    _, ended = run(*PASSED, Terminated(), Drained(), policy=SERVING)

    assert actions == [DrainConnections(), SetTimer(Timer.STOP_DEADLINE, 27)]
    assert isinstance(ended[0], Finish)
    assert ended[0].verdict.outcome == "Retry"  # another pod goes on, unless the run is deleted


def test_clients_that_do_not_go_are_cut_at_the_end_of_the_grace_period() -> None:
    _, actions = run(*PASSED, Terminated(), TimerFired(Timer.STOP_DEADLINE), policy=SERVING)

    assert isinstance(actions[0], Finish)


def test_nobody_is_connected_before_the_driver_runs() -> None:
    _, actions = run(Started(), Terminated(), policy=SERVING)

    assert isinstance(actions[0], Finish)


def test_a_replica_that_failed_its_check_ends_a_serving_run() -> None:
    _, actions = run(*PASSED, group_failed("final", reasons.CHECK_FAILED), policy=SERVING)

    assert isinstance(actions[0], Finish)
    assert (actions[0].verdict.outcome, actions[0].verdict.reason) == ("Failed", reasons.CHECK_FAILED)


ANSWERING = [*PASSED, ReplicaReady()]


@pytest.mark.parametrize("kind", ["final", "failed", "try-again"])
def test_one_replica_that_fails_takes_none_down_that_answers(kind: str) -> None:
    """Its export was deleted, its credentials were revoked."""
    failures = [group_failed(kind, reasons.EXPORT_INVALID)] * 9
    state, actions = run(*ANSWERING, *failures, policy=SERVING)

    assert actions == []
    assert state.last_failure is not None
    assert (state.last_failure.reason, state.failures) == (reasons.EXPORT_INVALID, 0)


def test_failures_of_a_start_are_forgotten_once_a_replica_answers() -> None:
    state, _ = run(*PASSED, group_failed("failed"), group_failed("failed"), ReplicaReady(), policy=SERVING)
    assert state.failures == 0


def test_a_serving_run_that_has_answered_is_started_again_for_ever() -> None:
    _, actions = run(*ANSWERING, *[CRASHED, DRIVER_AGAIN] * 9, policy=SERVING)
    assert actions == [StartDriver(10)]


def test_replicas_that_never_came_up_end_a_serving_run() -> None:
    verdict = finish_of(run(*PASSED, *[group_failed("failed")] * 3, policy=SERVING)[1]).verdict
    assert verdict.reason == reasons.BACKOFF_LIMIT_EXCEEDED


def test_a_supervisor_that_nobody_can_reach_ends_and_says_why() -> None:
    verdict = finish_of(run(*TRAINING, ServerFailed("OSError: address in use"))[1]).verdict
    assert (verdict.outcome, verdict.reason) == ("Retry", reasons.INTERNAL_ERROR)
    assert "address in use" in verdict.message


def test_a_run_that_ends_while_it_is_asked_to_stop_has_succeeded() -> None:
    actions = run(*TRAINING, StopRequested(), DriverExited(0, SUCCEEDED, 60))[1]
    assert finish_of(actions).verdict == SUCCEEDED


def test_ranks_that_do_not_stop_are_stopped() -> None:
    verdict = finish_of(run(*TRAINING, StopRequested(), TimerFired(Timer.STOP_DEADLINE))[1]).verdict
    assert verdict.outcome == "Stopped"


def test_a_withdrawn_stop_lets_the_ranks_go_on() -> None:
    assert run(*TRAINING, StopRequested(), StopWithdrawn())[1] == [AskRanksToGoOn()]


def test_ranks_that_had_stopped_before_the_withdrawal_are_started_again() -> None:
    events = [*TRAINING, StopRequested(), StopWithdrawn(), DriverExited(0, STOPPED, 60)]
    state, actions = run(*events)
    assert actions == [StartDriver(2)]
    assert state.failures == 0


def test_sigterm_gives_the_run_back_with_a_checkpoint_and_keeps_the_workers() -> None:
    assert run(*TRAINING, Terminated())[1] == [AskRanksToStop(), SetTimer(Timer.STOP_DEADLINE, 27)]
    finish = finish_of(run(*TRAINING, Terminated(), DriverExited(0, STOPPED, 60))[1])
    assert finish.verdict.outcome == "Retry"
    assert finish.verdict.step == STOPPED.step
    assert not finish.dismiss_workers


def test_sigterm_shortens_a_stop_that_is_under_way() -> None:
    actions = run(*TRAINING, StopRequested(), Terminated())[1]
    assert SetTimer(Timer.STOP_DEADLINE, 27) in actions


# ---- whatever happens


# ---- without a head: each attempt is an epoch

HOROVOD = replace(POLICY, epoch_per_attempt=True)


@pytest.mark.parametrize("ended", [CRASHED, group_failed("failed"), group_failed("lost")])
def test_without_a_head_a_broken_group_ends_every_process_and_starts_as_a_new_epoch(ended: Event) -> None:
    state, actions = run(*TRAINING, ended, policy=HOROVOD)
    assert actions == [EndEpoch(), KillAll(), SetTimer(Timer.DRIVER_BACKOFF, 0.0)]
    state, actions = machine.step(state, DRIVER_AGAIN)
    assert actions == [EndEpoch(), StartHead(2), StartDriver(2)]
    assert state.restarts == 1


def test_without_a_head_a_lost_store_has_its_time_as_well() -> None:
    _, actions = run(*TRAINING, LOST_STORE, policy=HOROVOD)
    assert actions == [AN_HOUR, EndEpoch(), KillAll(), SetTimer(Timer.DRIVER_BACKOFF, 0.0)]


def test_without_a_head_groups_that_break_again_and_again_wait_longer() -> None:
    _, actions = run(*TRAINING, group_failed("lost"), DRIVER_AGAIN, group_failed("lost"), policy=HOROVOD)
    assert actions[-1] == SetTimer(Timer.DRIVER_BACKOFF, 0.5)


def test_without_a_head_the_driver_that_ends_after_its_groups_failure_is_not_counted_again() -> None:
    state, actions = run(*TRAINING, group_failed("failed"), CRASHED, policy=HOROVOD)
    assert (state.failures, actions) == (1, [])


def test_without_a_head_ranks_stopped_by_a_withdrawn_wish_start_as_a_new_epoch() -> None:
    stopped = DriverExited(exit_code=0, verdict=STOPPED, uptime_seconds=5)
    _, actions = run(*TRAINING, StopRequested(), StopWithdrawn(), stopped, policy=HOROVOD)
    assert actions == [EndEpoch(), StartHead(2), StartDriver(2)]


def test_without_a_head_an_error_of_the_run_itself_ends_it_when_it_comes_too_often() -> None:
    again = [group_failed("failed"), DRIVER_AGAIN] * POLICY.backoff_limit
    _, actions = run(*TRAINING, *again, group_failed("failed"), policy=HOROVOD)
    assert finish_of(actions).verdict.reason == reasons.BACKOFF_LIMIT_EXCEEDED


@dataclass
class Pod:
    """What the actions have made of the pod's processes, and what can therefore happen to it."""

    running: set[str] = field(default_factory=set)
    epoch_open: bool = False
    passed: bool = False
    finished: list[Verdict] = field(default_factory=list)

    def possible(self, event: Event) -> bool:
        match event:
            case PreflightExited():
                return "preflight" in self.running
            case HeadExited():
                return "head" in self.running
            case DriverExited() | RanksRunning() | GroupFailed():
                return "driver" in self.running
        return True

    def happened(self, event: Event) -> None:
        match event:
            case PreflightExited(exit_code):
                self.running.discard("preflight")
                self.passed |= exit_code == 0
            case HeadExited():
                self.running.discard("head")
            case DriverExited():
                self.running.discard("driver")

    def do(self, action: Action) -> None:
        assert not self.finished
        match action:
            case StartPreflight():
                self.start("preflight")
            case StartHead():
                self.start("head")
                assert not self.epoch_open
                self.epoch_open = True
            case StartDriver():
                assert self.passed
                self.start("driver")
            case EndEpoch():
                self.epoch_open = False
            case KillAll():
                assert not self.epoch_open
                self.running.clear()
            case Finish(verdict):
                self.finished.append(verdict)

    def start(self, name: str) -> None:
        assert name not in self.running
        self.running.add(name)


KINDS = st.sampled_from(["lost", "try-again", "failed"])
EXIT_CODES = st.sampled_from([0, 1, 3, 75, 137, 139])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(PreflightExited, st.sampled_from([0, 1, 75]), st.none()),
    st.builds(HeadExited, st.just(1), st.floats(0, 100)),
    st.builds(DriverExited, EXIT_CODES, st.sampled_from([None, STOPPED]), st.floats(0, 100)),
    st.builds(
        group_failed,
        KINDS,
        st.sampled_from([reasons.PEER_LOST, reasons.TRAINING_FAILED]),
        step=st.integers(0, 3),
        workers_missing=st.booleans(),
    ),
    st.builds(TimerFired, st.sampled_from(Timer)),
    st.sampled_from([RanksRunning(), Advanced(), ReplicaReady()]),
    st.sampled_from([StopRequested(), StopWithdrawn(), Terminated()]),
)


@given(st.lists(EVENTS, max_size=60))
def test_no_process_runs_twice_epochs_do_not_overlap_and_the_verdict_is_the_last_word(
    events: list[Event],
) -> None:
    pod, state = Pod(), CoordinatorState(POLICY)
    for event in [Started(), *events]:
        if not pod.possible(event):
            continue
        pod.happened(event)
        state, actions = machine.step(state, event)
        assert not (pod.finished and actions)
        for action in actions:
            pod.do(action)
        assert 0 <= state.failures <= POLICY.backoff_limit + 1


@given(st.lists(EVENTS, max_size=60))
def test_something_always_runs_or_is_about_to_until_the_end(events: list[Event]) -> None:
    """No sequence of deaths leaves a pod that waits for nothing."""
    pod, state, timers = Pod(), CoordinatorState(POLICY), set[Timer]()
    for event in [Started(), *events]:
        if not pod.possible(event) or (isinstance(event, TimerFired) and event.timer not in timers):
            continue
        if isinstance(event, TimerFired):
            timers.discard(event.timer)
        pod.happened(event)
        state, actions = machine.step(state, event)
        for action in actions:
            pod.do(action)
            if isinstance(action, SetTimer):
                timers.add(action.timer)
        waits = timers & {Timer.PREFLIGHT_BACKOFF, Timer.HEAD_BACKOFF, Timer.DRIVER_BACKOFF}
        assert pod.finished or waits or "driver" in pod.running or "preflight" in pod.running
        assert pod.finished or "head" in pod.running or Timer.HEAD_BACKOFF in timers


@given(st.lists(st.sampled_from([HEAD_DIED, group_failed("lost"), HEAD_AGAIN, RanksRunning()]), max_size=60))
def test_losses_alone_never_end_a_run(events: list[Event]) -> None:
    state, actions = run(*TRAINING, *events)
    assert state.failures == 0
    assert not any(isinstance(action, Finish) for action in actions)
