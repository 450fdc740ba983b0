"""From exceptions to `Failure`: of one rank, in its process.

It decides what kind of ending it was, not what is done about it (`supervise.coordinator_machine`).
"""

import re
import traceback

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.log import Fenced, Overtaken
from deepseek_workloads.train.context import Preempted
from deepseek_workloads.train.refused import SettingRefused

MAX_MESSAGE = 1000
_ADDRESS = re.compile(r"\[([0-9a-fA-F.:]+)\]:\d+")  # of a peer, as gloo writes it
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


def failure_of(error: BaseException, *, rank: int) -> Failure:
    """Of an exception that ended a rank."""
    kind, reason, exit_code = _classify(error)
    said = _peer_lost(str(error)) if reason == reasons.PEER_LOST else str(error)
    message = f"rank {rank}: {said or type(error).__name__}"
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
        case StoreError() | DatasetError() | ExportError() | SettingRefused():
            return "final", error.reason, ExitCode.BAD_INPUT
    text = str(error)
    if _is_peer_error(error) and any(part in text for part in _PEER_LOST_TEXTS):
        return "try-again", reasons.PEER_LOST, ExitCode.TRY_AGAIN
    if "out of memory" in text:
        return "failed", reasons.OUT_OF_MEMORY, 1
    return "failed", reasons.TRAINING_FAILED, 1


def _peer_lost(text: str) -> str:
    """In our words where gloo says no more than that; NCCL's own tell more."""
    if "NCCL" in text:
        return text
    what = next(part for part in _PEER_LOST_TEXTS if part in text)
    address = _ADDRESS.search(text)
    to = f" to {address[1]}" if address is not None else ""
    return f"its connection{to} was lost ({what}): another rank, its pod or its node has ended"


def _is_peer_error(error: BaseException) -> bool:
    return isinstance(error, (RuntimeError, ConnectionError))


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
