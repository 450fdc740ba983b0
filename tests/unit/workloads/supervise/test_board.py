from dataclasses import replace

import pytest

from deepseek_workloads.contract.messages import (
    MAX_PROGRESS_BYTES,
    CheckpointSummary,
    Control,
    Failure,
    Progress,
    Report,
    StageProgress,
)
from deepseek_workloads.supervise.board import DRIVER_RANK, ProgressBoard
from deepseek_workloads.supervise.coordinator_state import Child, CoordinatorState, Policy, Stop

POLICY = Policy(2, 600, 900, 27, 3600, graceful_stop=True)
STARTED = CoordinatorState(POLICY, preflight=Child.RUNNING, head=Child.RUNNING, epoch=1)
WAITING = replace(STARTED, preflight=Child.PASSED, driver=Child.RUNNING)
TRAINING = replace(WAITING, ranks_running=True)
LEADER = Report(
    rank=0,
    pod="worker-0",
    step=41,
    control_generation=3,
    progress=Progress(phase="Training", step=41, total_steps=100, loss=2.5, goodput={"step": 30.0}),
)


@pytest.fixture
def board() -> ProgressBoard:
    return ProgressBoard(world_size=2)


def shown(board: ProgressBoard, state: CoordinatorState, **changes: object) -> Progress:
    arguments = {"control": Control(generation=3), "connected": 2, "expected": 2, "now": 100.0, **changes}
    return board.progress(state, **arguments)  # type: ignore[arg-type]


def test_rank_0_describes_the_training(board: ProgressBoard) -> None:
    board.take(LEADER, now=99.0)
    progress = shown(board, TRAINING)
    assert (progress.phase, progress.step, progress.loss) == ("Training", 41, 2.5)


def test_every_rank_has_a_heartbeat_with_its_age(board: ProgressBoard) -> None:
    board.take(LEADER, now=99.0)
    board.take(Report(rank=1, pod="worker-1", step=40), now=90.0)
    assert [(r.rank, r.pod, r.step, r.age_seconds) for r in shown(board, TRAINING).ranks] == [
        (0, "worker-0", 41, 1.0),
        (1, "worker-1", 40, 10.0),
    ]


def test_a_control_is_seen_when_the_last_rank_has_seen_it(board: ProgressBoard) -> None:
    board.take(LEADER, now=99.0)
    assert shown(board, TRAINING).control_generation == 0  # rank 1 has not spoken yet
    board.take(Report(rank=1, control_generation=2), now=99.0)
    assert shown(board, TRAINING).control_generation == 2
    board.take(Report(rank=1, control_generation=3), now=99.0)
    assert shown(board, TRAINING).control_generation == 3


def test_without_ranks_a_control_is_seen_at_once(board: ProgressBoard) -> None:
    assert shown(board, WAITING).control_generation == 3


def test_what_a_lost_group_had_reached_stays_shown_but_not_its_ranks(board: ProgressBoard) -> None:
    board.take(LEADER, now=99.0)
    board.forget_ranks()
    failure = Failure(kind="lost", reason="NodeLost", message="rank 1: its node is gone")
    progress = shown(board, replace(WAITING, restarts=1, last_failure=failure), connected=1)
    assert (progress.step, progress.loss, progress.ranks) == (41, 2.5, [])
    assert progress.restarts == 1
    assert progress.last_failure == "NodeLost: rank 1: its node is gone"
    assert progress.message == "1 of 2 workers are connected"


def test_the_driver_describes_the_time_before_the_ranks(board: ProgressBoard) -> None:
    waiting = Progress(phase="WaitingForWorkers", message="1 of 2 worker nodes have joined Ray")
    board.take(Report(rank=DRIVER_RANK, progress=waiting), now=99.0)
    progress = shown(board, WAITING)
    assert (progress.phase, progress.message) == (waiting.phase, waiting.message)


def test_the_driver_of_a_dataset_describes_its_stages(board: ProgressBoard) -> None:
    stages = [StageProgress(name="tokenize", done=3, total=8)]
    board.take(Report(rank=DRIVER_RANK, progress=Progress(phase="Preparing", stages=stages)), now=99.0)
    assert shown(board, WAITING).phase == "Preparing"
    assert shown(board, WAITING).stages == stages


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (STARTED, "Preflight"),
        (WAITING, "Starting"),
        (replace(WAITING, driver=Child.BACKING_OFF), "Starting"),
        (replace(TRAINING, stop=Stop.CONTROL), "Stopping"),
        (replace(TRAINING, finished=True), "Done"),
    ],
)
def test_the_supervisor_knows_the_phases_around_the_training(
    board: ProgressBoard, state: CoordinatorState, phase: str
) -> None:
    assert shown(board, state).phase == phase


def test_time_is_booked_on_the_phase_it_was_spent_in(board: ProgressBoard) -> None:
    board.account(STARTED, now=0.0)
    board.account(STARTED, now=2.0)
    board.account(WAITING, now=7.0)
    board.take(LEADER, now=8.0)
    board.account(TRAINING, now=8.0)
    board.account(TRAINING, now=50.0)
    assert shown(board, TRAINING).goodput == {"preflight": 2.0, "starting": 5.0, "step": 30.0}


def test_progress_stays_within_its_limit_whatever_is_reported() -> None:
    board = ProgressBoard(world_size=10_000)
    checkpoints = [CheckpointSummary(step=s, epoch=1, created_at="x" * 200) for s in range(10)]
    large = Progress(warnings=["w" * 5000] * 8, checkpoints=checkpoints, message="m" * 9000)
    for rank in range(10_000):
        board.take(Report(rank=rank, pod="p" * 250, progress=large if rank == 0 else None), now=0.0)
    failure = Failure(kind="failed", reason="TrainingFailed", message="f" * 9000)
    progress = shown(board, replace(TRAINING, last_failure=failure))
    assert len(progress.to_json()) <= MAX_PROGRESS_BYTES
