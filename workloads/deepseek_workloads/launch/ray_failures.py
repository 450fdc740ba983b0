"""How failures travel through Ray Train: raised by a rank as `RankFailed`, collected in its controller.

It decides what kind of ending it was, not what is done about it (`supervise.coordinator_machine`).
"""

import re
from collections.abc import Mapping

from ray.exceptions import ActorUnavailableError, RayActorError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure
from deepseek_workloads.launch.failures import MAX_MESSAGE, failure_of
from deepseek_workloads.supervise.outcomes import most_telling

_FACTS = re.compile(r"\s*(class_name|actor_id|pid|name|namespace|job_id): ")  # lines of Ray's description
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


def failure_of_group(errors: Mapping[int, BaseException]) -> Failure:
    """Of the exceptions that Ray Train has collected by rank, the one that explains the others."""
    return most_telling(_of_worker(error, rank) for rank, error in sorted(errors.items()))


def _of_worker(error: BaseException, rank: int) -> Failure:
    if isinstance(error, RankFailed):
        return error.failure
    cause = getattr(error, "health_check_failure", error)  # Ray Train wraps the death of an actor
    if not isinstance(cause, RayActorError):
        return failure_of(error, rank=rank)
    text = _in_a_line(str(cause))
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


def _in_a_line(text: str) -> str:
    """Without the numbers of an actor that nobody can look up any more."""
    lines = (line.strip() for line in text.splitlines() if not _FACTS.match(line))
    return " ".join(line for line in lines if line)


def _lost(rank: int, text: str) -> Failure:
    return Failure(
        kind="lost",
        reason=reasons.NODE_LOST,
        message=f"rank {rank}: its node is gone: {text}"[:MAX_MESSAGE],
        exit_code=ExitCode.TRY_AGAIN,
        rank=rank,
    )
