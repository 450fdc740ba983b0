"""From exit codes and verdict files to what they mean for the run. Pure."""

from collections.abc import Iterable

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import FINAL_EXIT_CODES, ExitCode
from deepseek_workloads.contract.messages import Failure, Progress, Verdict

_REASONS_OF_EXIT_CODES: dict[int, str] = {
    ExitCode.BAD_INPUT: reasons.INVALID_RUN_CONFIG,
    ExitCode.FENCED: reasons.FENCED,
    ExitCode.NUMERIC_FAILURE: reasons.NUMERIC_FAILURE,
    ExitCode.TRY_AGAIN: reasons.STORE_UNREACHABLE,
}
SIGNAL_BASE = 128


def preflight_failure(exit_code: int, verdict: Verdict | None) -> Failure:
    """`exit_code` is not 0. Only a verdict of bad input is final; a lost store is asked again."""
    if exit_code == ExitCode.BAD_INPUT:
        return _failure("final", exit_code, verdict, process="preflight")
    if exit_code == ExitCode.TRY_AGAIN:
        return _failure("try-again", exit_code, verdict, process="preflight")
    return _failure("failed", exit_code, verdict, process="preflight")


def classify_driver_exit(exit_code: int, verdict: Verdict | None) -> Verdict | Failure:
    """A Verdict ends this pod; a Failure asks for another start of the driver."""
    if verdict is not None and verdict.outcome == "Succeeded" and exit_code != ExitCode.DONE:
        verdict = None  # it failed after it had written the file
    if exit_code == ExitCode.TRY_AGAIN:
        return _failure("try-again", exit_code, verdict, process="driver")
    if verdict is not None and verdict.outcome == "Retry":
        return _failure("failed", exit_code, verdict, process="driver")
    if verdict is not None:
        return verdict
    if exit_code in FINAL_EXIT_CODES and exit_code != ExitCode.DONE:
        return failed(_failure("final", exit_code, None, process="driver"))
    return _failure("failed", exit_code, None, process="driver")


def most_telling(failures: Iterable[Failure]) -> Failure:
    """Of the failures of a group's ranks, at least one, the one that explains the others.

    A final one first. A lost node breaks the collectives of all others, and so does a crashed process: both
    come before what the surviving ranks say of themselves.
    """
    order = {"final": 0, "lost": 1, "failed": 2, "try-again": 3}
    return min(failures, key=lambda failure: order[failure.kind])


def explained(failure: Failure, *, workers_missing: bool, stuck: bool) -> Failure:
    """A broken collective tells that a rank has gone, not why. A pod that is missing explains it. Otherwise a
    process crashes: once may be chance; again, with no step gained (`stuck`), it is the run's own failure."""
    if failure.reason != reasons.PEER_LOST:
        return failure
    if workers_missing:
        return failure.model_copy(update={"kind": "lost", "reason": reasons.NODE_LOST})
    return failure.model_copy(update={"kind": "failed"}) if stuck else failure


def failed(failure: Failure) -> Verdict:
    return Verdict(
        outcome="Failed", reason=failure.reason, message=failure.message, exit_code=failure.exit_code
    )


def backoff_limit_exceeded(failure: Failure, limit: int) -> Verdict:
    message = f"failed more than {limit} times; the last time: {failure.reason}: {failure.message}"
    return Verdict(
        outcome="Failed",
        reason=reasons.BACKOFF_LIMIT_EXCEEDED,
        message=message,
        exit_code=failure.exit_code,
    )


def no_progress(failure: Failure, *, seconds: float) -> Verdict:
    message = (
        f"no step was gained for {seconds / 60:.0f} minutes: {failure.message}: see that the object store "
        "answers, and apply the resource again; it goes on from its last checkpoint"
    )
    return Verdict(outcome="Failed", reason=failure.reason, message=message, exit_code=failure.exit_code)


def server_failed(message: str) -> Verdict:
    """Another pod has a network of its own."""
    return Verdict(
        outcome="Retry",
        reason=reasons.INTERNAL_ERROR,
        message=f"the coordinator's servers ended: {message}",
        exit_code=ExitCode.TRY_AGAIN,
    )


def stopped(by_control: bool, message: str) -> Verdict:
    """By control the run is at rest; otherwise it goes on in another pod."""
    outcome = "Stopped" if by_control else "Retry"
    return Verdict(outcome=outcome, reason=reasons.STOPPED, message=message)


def with_position(verdict: Verdict, progress: Progress) -> Verdict:
    """Fills in where the run was, where the verdict does not say it: an ending may come sooner after the last
    step than anybody has asked for the progress."""
    known: dict[str, object] = {}
    if not verdict.epoch:
        known["epoch"] = progress.epoch
    if not verdict.step:
        known["step"] = progress.step
    if not verdict.tokens:
        known["tokens"] = progress.tokens
    if verdict.loss is None:
        known["loss"] = progress.loss
    if verdict.tokens_per_second is None:
        known["tokens_per_second"] = progress.tokens_per_second
    if not verdict.evaluation:
        known["evaluation"] = progress.evaluation
    return verdict.model_copy(update=known)


def describe_exit(exit_code: int) -> str:
    if exit_code > SIGNAL_BASE:
        return f"was killed by signal {exit_code - SIGNAL_BASE}"
    return f"ended with exit code {exit_code}"


def _failure(kind: str, exit_code: int, verdict: Verdict | None, *, process: str) -> Failure:
    if verdict is not None:
        reason, message = verdict.reason, verdict.message
    else:
        reason = _REASONS_OF_EXIT_CODES.get(exit_code, reasons.TRAINING_FAILED)
        message = f"the {process} {describe_exit(exit_code)} and left no verdict; its log says why"
    return Failure.model_validate(
        {"kind": kind, "reason": reason, "message": message, "exit_code": exit_code}
    )
