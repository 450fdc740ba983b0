"""From exceptions to `Failure`: of one rank, in its process; of a whole group, in Ray Train's controller.

It decides what kind of ending it was, not what is done about it (`supervise.coordinator_machine`).
"""

import traceback
from collections.abc import Mapping

from ray.exceptions import ActorUnavailableError, RayActorError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.export.load import ExportError
from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.log import Fenced, Overtaken
from deepseek_workloads.train.context import Preempted

MAX_MESSAGE = 1000
# What gloo, NCCL and torch.distributed say when a peer went away. They raise plain RuntimeErrors.
_PEER_LOST_TEXTS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Socket Timeout",
    "Timed out waiting",
    "Broken pipe",
    "Connection refused",
    "Read error",
    "Write error",
    "NCCL error",
    "remote process exited",
    "Application timeout caused pair closure",
)
_NODE_LOST_TEXTS = ("node has died", "node died", "raylet", "node is dead", "The node was")


class RankFailed(Exception):
    """What a rank raises to Ray Train: a Failure as JSON, so that it survives pickling between processes."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.document = failure

    @classmethod
    def of(cls, failure: Failure) -> "RankFailed":
        return cls(failure.to_json().decode())

    @property
    def failure(self) -> Failure:
        return Failure.model_validate_json(self.document)


def failure_of(error: BaseException, *, rank: int) -> Failure:
    """Of an exception that ended a rank."""
    kind, reason, exit_code = _classify(error)
    message = f"rank {rank}: {error or type(error).__name__}"
    if kind == "failed":
        message += f" ({_place(error)})"
    return Failure.model_validate(
        {
            "kind": kind,
            "reason": reason,
            "message": message[:MAX_MESSAGE],
            "exit_code": int(exit_code),
            "rank": rank,
        }
    )


def _classify(error: BaseException) -> tuple[str, str, int]:
    match error:
        case Preempted():
            return "lost", reasons.PREEMPTED, ExitCode.TRY_AGAIN
        case Overtaken():
            return "lost", reasons.FENCED, ExitCode.TRY_AGAIN
        case Fenced():
            return "final", reasons.FENCED, ExitCode.FENCED
        case StoreError() if error.transient:
            return "try-again", error.reason, ExitCode.TRY_AGAIN
        case StoreError() | DatasetError() | ExportError():
            return "final", error.reason, ExitCode.BAD_INPUT
    text = str(error)
    if _is_peer_error(error) and any(part in text for part in _PEER_LOST_TEXTS):
        return "try-again", reasons.PEER_LOST, ExitCode.TRY_AGAIN
    if "out of memory" in text:
        return "failed", reasons.OUT_OF_MEMORY, 1
    return "failed", reasons.TRAINING_FAILED, 1


def _is_peer_error(error: BaseException) -> bool:
    return isinstance(error, (RuntimeError, ConnectionError))


def failure_of_group(errors: Mapping[int, BaseException]) -> Failure:
    """Of the exceptions that Ray Train has collected by rank, the one that explains the others.

    A final one first. A lost node breaks the collectives of all others, and so does a crashed process: both
    come before what the surviving ranks say of themselves.
    """
    failures = [_of_worker(error, rank) for rank, error in sorted(errors.items())]
    order = {"final": 0, "lost": 1, "failed": 2, "try-again": 3}
    return min(failures, key=lambda failure: order[failure.kind])


def _of_worker(error: BaseException, rank: int) -> Failure:
    if isinstance(error, RankFailed):
        return error.failure
    cause = getattr(error, "health_check_failure", error)  # Ray Train wraps the death of an actor
    if not isinstance(cause, RayActorError):
        return failure_of(error, rank=rank)
    text = str(cause)
    if cause.preempted or any(part in text for part in _NODE_LOST_TEXTS):
        return _lost(rank, text)
    if isinstance(
        cause, ActorUnavailableError
    ):  # its connection broke: its node, its pod or itself may be gone
        return Failure(
            kind="try-again",
            reason=reasons.PEER_LOST,
            message=f"rank {rank}: it does not answer: {text}"[:MAX_MESSAGE],
            exit_code=ExitCode.TRY_AGAIN,
            rank=rank,
        )
    return Failure(
        kind="failed",
        reason=reasons.PROCESS_CRASHED,
        message=f"rank {rank}: its process died: {text}"[:MAX_MESSAGE],
        exit_code=1,
        rank=rank,
    )


def _lost(rank: int, text: str) -> Failure:
    return Failure(
        kind="lost",
        reason=reasons.NODE_LOST,
        message=f"rank {rank}: its node is gone: {text}"[:MAX_MESSAGE],
        exit_code=ExitCode.TRY_AGAIN,
        rank=rank,
    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
