import pickle

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.launch.failures import failure_of
from deepseek_workloads.launch.ray_failures import RankFailed, failure_of_group
from deepseek_workloads.store.interface import AccessDenied, StoreUnavailable
from deepseek_workloads.store.log import Fenced, Overtaken
from deepseek_workloads.train.context import Preempted
from deepseek_workloads.train.refused import SettingRefused

GLOO = RuntimeError(
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [10.0.0.7]:4711"
)
CRASHED = WorkerHealthCheckFailedError(
    "A worker health check failed.",
    failure=RayActorError(error_msg="The actor is dead because its worker process has died."),
)
NODE_DIED = WorkerHealthCheckFailedError(
    "A worker health check failed.",
    failure=RayActorError(error_msg="The actor died because its node has died. Node Id: 5c2f"),
)
PREEMPTED_NODE = WorkerHealthCheckFailedError(
    "A worker health check failed.", failure=RayActorError(error_msg="The actor died.", preempted=True)
)


@pytest.mark.parametrize(
    ("error", "kind", "reason", "exit_code"),
    [
        (Preempted("drained"), "lost", reasons.PREEMPTED, ExitCode.TRY_AGAIN),
        (Fenced("epoch 4 owns the log"), "final", reasons.FENCED, ExitCode.FENCED),
        (Overtaken("epoch 4 owns the log"), "lost", reasons.FENCED, ExitCode.TRY_AGAIN),
        (StoreUnavailable("s3://b: timed out"), "try-again", reasons.STORE_UNREACHABLE, ExitCode.TRY_AGAIN),
        (AccessDenied("s3://b: no"), "final", reasons.ACCESS_DENIED, ExitCode.BAD_INPUT),
        (DatasetError("shard 3"), "final", reasons.DATASET_INVALID, ExitCode.BAD_INPUT),
        (SettingRefused("no such module"), "final", reasons.INVALID_RUN_CONFIG, ExitCode.BAD_INPUT),
        (GLOO, "try-again", reasons.PEER_LOST, ExitCode.TRY_AGAIN),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "failed", reasons.OUT_OF_MEMORY, 1),
        (ValueError("shapes differ"), "failed", reasons.TRAINING_FAILED, 1),
    ],
)
def test_what_ended_a_rank_is_classified(error: Exception, kind: str, reason: str, exit_code: int) -> None:
    failure = failure_of(error, rank=3)
    assert (failure.kind, failure.reason, failure.exit_code) == (kind, reason, exit_code)
    assert str(error) in failure.message or error is GLOO
    assert failure.rank == 3


def test_a_lost_connection_is_told_in_words() -> None:
    assert failure_of(GLOO, rank=3).message == (
        "rank 3: its connection to 10.0.0.7 was lost (Connection closed by peer): another rank, its pod or "
        "its node has ended"
    )
    nccl = RuntimeError(
        "NCCL error in: ProcessGroupNCCL.cpp:1691, remote process exited or there was a network error"
    )
    assert failure_of(nccl, rank=3).message == f"rank 3: {nccl}"


def test_what_ray_says_of_an_actor_is_one_line_without_its_numbers() -> None:
    told = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: RayTrainWorker\n"
        "\tactor_id: 5c2f\n\tpid: 411\n\tnamespace: 1f0e\n\tip: 10.0.0.7\n"
        "The actor died because its node has died."
    )
    dead = WorkerHealthCheckFailedError("failed", failure=RayActorError(error_msg=told))
    assert failure_of_group({1: dead}).message == (
        "rank 1: its node is gone: The actor died unexpectedly before finishing this task. ip: 10.0.0.7 "
        "The actor died because its node has died."
    )


def test_the_runs_own_error_names_its_place() -> None:
    with pytest.raises(ValueError) as raised:
        raise ValueError("shapes differ")
    assert f"ValueError at {__file__}:" in failure_of(raised.value, rank=0).message


def test_a_failure_survives_the_way_from_the_rank_to_the_driver() -> None:
    failure = Failure(kind="failed", reason="TrainingFailed", message='it said "no"', rank=1)
    received = pickle.loads(pickle.dumps(RankFailed.of(failure)))
    assert received.failure == failure


def ended(error: Exception, rank: int) -> RankFailed:
    return RankFailed.of(failure_of(error, rank=rank))


def test_the_rank_that_broke_explains_those_that_lost_their_peer() -> None:
    failure = failure_of_group({0: ended(GLOO, 0), 1: ended(ValueError("shapes differ"), 1)})
    assert (failure.kind, failure.rank) == ("failed", 1)


def test_a_crashed_process_explains_those_that_lost_their_peer() -> None:
    failure = failure_of_group({0: ended(GLOO, 0), 1: CRASHED})
    assert (failure.kind, failure.reason, failure.rank) == ("failed", reasons.PROCESS_CRASHED, 1)


@pytest.mark.parametrize("death", [NODE_DIED, PREEMPTED_NODE])
def test_a_lost_node_explains_everything_else(death: Exception) -> None:
    failure = failure_of_group({0: ended(ValueError("confused"), 0), 1: death})
    assert (failure.kind, failure.reason) == ("lost", reasons.NODE_LOST)


def test_bad_input_is_final_whatever_else_broke() -> None:
    failure = failure_of_group({0: ended(AccessDenied("s3://b: no"), 0), 1: NODE_DIED})
    assert failure.kind == "final"


def test_peers_that_only_lost_each_other_are_tried_again() -> None:
    assert failure_of_group({0: ended(GLOO, 0), 1: ended(GLOO, 1)}).reason == reasons.PEER_LOST


def test_an_actor_that_died_for_no_given_reason_counts_as_a_crash() -> None:
    assert failure_of_group({0: ActorDiedError()}).reason == reasons.PROCESS_CRASHED


def test_an_actor_that_does_not_answer_may_be_on_a_lost_node() -> None:
    failure = failure_of_group({0: ActorUnavailableError("connection reset", None)})
    assert (failure.kind, failure.reason) == ("try-again", reasons.PEER_LOST)
