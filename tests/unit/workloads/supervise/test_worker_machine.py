from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.supervise import worker_machine as machine
from deepseek_workloads.supervise.worker_machine import (
    Action,
    BackoffOver,
    Connected,
    Disconnected,
    Dismissed,
    DrainDeadline,
    DrainRay,
    Event,
    Exit,
    KillAll,
    OutOfMemory,
    RayExited,
    SetBackoff,
    SetDrainDeadline,
    StartRay,
    Terminated,
    WorkerState,
)

EXITED = RayExited(exit_code=1, uptime_seconds=3)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Connected, st.integers(1, 3)),
    st.sampled_from(
        [Disconnected(), Dismissed(), EXITED, BackoffOver(), Terminated(), DrainDeadline(), OutOfMemory()]
    ),
)


def run(*events: Event) -> tuple[WorkerState, list[Action]]:
    """The actions of the last event."""
    state, actions = WorkerState(), []
    for event in events:
        state, actions = machine.step(state, event)
    return state, actions


def test_ray_starts_when_the_coordinator_has_a_head() -> None:
    assert run(Connected(1))[1] == [StartRay(1)]


def test_the_end_of_the_connection_kills_everything_and_a_new_epoch_starts_ray_again() -> None:
    assert run(Connected(1), Disconnected())[1] == [KillAll()]
    assert run(Connected(1), Disconnected(), Connected(2))[1] == [StartRay(2)]


REPLICA = WorkerState(serves=True)


def of_replica(*events: Event) -> tuple[WorkerState, list[Action]]:
    state, actions = REPLICA, []
    for event in events:
        state, actions = machine.step(state, event)
    return state, actions


def test_a_replica_answers_on_without_a_head_until_there_is_another() -> None:
    """The next coordinator counts its epochs from 1 again."""
    assert of_replica(Connected(1), Disconnected())[1] == []
    assert of_replica(Connected(1), Disconnected(), Connected(1))[1] == [KillAll(), StartRay(1)]


def test_a_replica_whose_ray_has_given_up_waits_for_the_next_head() -> None:
    events = [Connected(1), Disconnected(), EXITED]
    assert of_replica(*events, BackoffOver())[1] == []
    assert of_replica(*events, BackoffOver(), Connected(1))[1] == [KillAll(), StartRay(1)]


def test_a_replica_that_drains_is_not_cut_by_the_end_of_the_head() -> None:
    events = [Connected(1), Terminated(), Disconnected()]
    assert of_replica(*events)[1] == []
    assert of_replica(*events, EXITED)[1] == [KillAll(), Exit(143)]
    assert of_replica(*events, DrainDeadline())[1] == [KillAll(), Exit(143)]


def test_ray_that_dies_alone_is_started_again_in_place() -> None:
    assert run(Connected(1), EXITED)[1] == [KillAll(), SetBackoff(0)]
    assert run(Connected(1), EXITED, BackoffOver())[1] == [StartRay(1)]


def test_ray_that_dies_again_and_again_is_started_more_slowly() -> None:
    assert run(Connected(1), EXITED, BackoffOver(), EXITED)[1] == [KillAll(), SetBackoff(0.5)]


def test_the_backoff_of_a_dead_epoch_starts_nothing() -> None:
    assert run(Connected(1), EXITED, Disconnected(), BackoffOver())[1] == []


def test_sigterm_drains_ray_and_kills_nothing() -> None:
    assert run(Connected(1), Terminated())[1] == [DrainRay(), SetDrainDeadline()]


def test_the_pod_ends_when_ray_has_drained() -> None:
    assert run(Connected(1), Terminated(), EXITED)[1] == [KillAll(), Exit(machine.EXIT_TERMINATED)]


def test_the_pod_ends_at_the_drain_deadline() -> None:
    assert run(Connected(1), Terminated(), DrainDeadline())[1] == [KillAll(), Exit(machine.EXIT_TERMINATED)]


def test_sigterm_without_ray_ends_the_pod_at_once() -> None:
    assert run(Terminated())[1] == [KillAll(), Exit(machine.EXIT_TERMINATED)]
    assert run(Connected(1), EXITED, Terminated())[1] == [KillAll(), Exit(machine.EXIT_TERMINATED)]


def test_a_coordinator_lost_while_draining_ends_the_pod() -> None:
    assert run(Connected(1), Terminated(), Disconnected())[1] == [KillAll(), Exit(machine.EXIT_TERMINATED)]


def test_the_end_of_the_run_ends_the_pod_with_success() -> None:
    assert run(Connected(1), Dismissed())[1] == [KillAll(), Exit(machine.EXIT_DONE)]


def test_a_process_killed_for_memory_ends_the_pod_as_the_kernel_would() -> None:
    assert run(Connected(1), OutOfMemory())[1] == [KillAll(), Exit(machine.EXIT_OUT_OF_MEMORY)]


@given(st.lists(EVENTS, max_size=40))
def test_ray_runs_once_at_most_only_while_connected_and_never_after_the_exit(events: list[Event]) -> None:
    state, running, connected, exited = WorkerState(), False, False, False
    for event in events:
        match event:
            case Connected():
                connected = True
            case Disconnected():
                connected = False
            case RayExited() if not running:
                continue  # no such process
            case RayExited():
                running = False
        state, actions = machine.step(state, event)
        assert not (exited and actions)
        for action in actions:
            match action:
                case StartRay():
                    assert connected
                    assert not running
                    running = True
                case KillAll():
                    running = False
                case Exit():
                    assert not running
                    exited = True
        assert connected or not running or state.draining or exited


@given(st.lists(EVENTS, max_size=40))
def test_a_drain_starts_nothing(events: list[Event]) -> None:
    state, _ = run(Connected(1), Terminated())
    for event in events:
        state, actions = machine.step(state, event)
        assert not any(isinstance(action, StartRay | SetBackoff) for action in actions)
