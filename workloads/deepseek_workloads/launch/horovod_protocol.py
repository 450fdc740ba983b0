"""What the driver of a Horovod run and its worker pods say to each other, one JSON line each. Pure.

worker -> driver: a `Hello` (`supervise.epoch_protocol`), then an `Ending` of each of its ranks. driver ->
worker: a `Launch`, once every worker is there. The end of the connection means that the other side is gone.
"""

from collections.abc import Mapping

import pydantic

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.contract.wire import TolerantWireModel
from deepseek_workloads.supervise.outcomes import describe_exit

MAX_LINE_BYTES = 64 * 1024
ABORTED = 134  # SIGABRT


class Slot(TolerantWireModel):
    """The place of one rank, in Horovod's terms; `hostname` is the pod's name, a key that nobody resolves."""

    hostname: str
    rank: int
    local_rank: int
    cross_rank: int
    size: int
    local_size: int
    cross_size: int


class Launch(TolerantWireModel):
    slots: list[Slot]  # of the pod that it is sent to
    term: list[int]  # orders this run's groups in the commit log


class Ending(TolerantWireModel):
    """Of one rank: exactly one of both."""

    rank: int
    verdict: Verdict | None = None
    failure: Failure | None = None


def line_of(message: TolerantWireModel) -> bytes:
    return message.to_json() + b"\n"


def rank_environment(slot: Slot, *, rendezvous_host: str, rendezvous_port: int) -> dict[str, str]:
    """What Horovod reads in a rank's process. Without it every process would run alone, and say nothing."""
    return {
        "HOROVOD_HOSTNAME": slot.hostname,
        "HOROVOD_RANK": str(slot.rank),
        "HOROVOD_SIZE": str(slot.size),
        "HOROVOD_LOCAL_RANK": str(slot.local_rank),
        "HOROVOD_LOCAL_SIZE": str(slot.local_size),
        "HOROVOD_CROSS_RANK": str(slot.cross_rank),
        "HOROVOD_CROSS_SIZE": str(slot.cross_size),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": rendezvous_host,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(rendezvous_port),
    }


def ending_of(rank: int, *, exit_code: int, document: bytes | None) -> Ending:
    """Of a process that has ended with `exit_code` (128 + n for signal n); `document` is what it left."""
    try:
        return Ending.model_validate_json(document or b"")
    except pydantic.ValidationError:
        return Ending(rank=rank, failure=_unexplained(rank, exit_code))


def conclusion(endings: Mapping[int, Ending], *, world_size: int) -> Verdict | list[Failure] | None:
    """Rank 0's verdict is the run's. Otherwise the failures, once nothing more can explain them: all ranks
    have ended, or one is final. None: not yet."""
    first = endings.get(0)
    if first is not None and first.verdict is not None:
        return first.verdict
    failures = failures_of(endings)
    final = any(failure.kind == "final" for failure in failures)
    return failures if failures and (final or len(endings) == world_size) else None


def failures_of(endings: Mapping[int, Ending]) -> list[Failure]:
    return [ending.failure for _, ending in sorted(endings.items()) if ending.failure is not None]


def _unexplained(rank: int, exit_code: int) -> Failure:
    if exit_code == ABORTED:  # Horovod's C++ code cannot raise: it aborts
        return Failure(
            kind="try-again",
            reason=reasons.PEER_LOST,
            message=f"rank {rank}: aborted: most likely another rank did not come to Horovod's rendezvous",
            exit_code=ExitCode.TRY_AGAIN,
            rank=rank,
        )
    return Failure(
        kind="failed",
        reason=reasons.PROCESS_CRASHED,
        message=f"rank {rank}: its process {describe_exit(exit_code)} and left no word; its log says why",
        exit_code=exit_code,
        rank=rank,
    )
