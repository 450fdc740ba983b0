"""Runs a user's training function in place of our loop, and tells how it ended."""

from collections.abc import Callable
from typing import Any, Final

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.custom.context import NoSteps, NotFinite, RunContext, StopRequested
from deepseek_workloads.train.ending import place
from deepseek_workloads.train.opened import open_run
from deepseek_workloads.train.reporting import reporting
from deepseek_workloads.train.stopwatch import Stopwatch
from deepseek_workloads.train.user_code import load_entrypoint

FIELD: Final = "spec.training.entrypoint"


def train_custom(run: TrainingRun, context: TrainContext, watch: Stopwatch) -> Verdict:
    """On every rank of the group; all return the same verdict. Raises EntrypointInvalid, as `loop.train`, and
    what the function raises."""
    function = load_entrypoint(run.training.entrypoint or "", field=FIELD)
    with watch.part("startup"):
        opened = open_run(run, context)
    with reporting(opened, context, watch) as reporter:
        return run_entrypoint(function, RunContext(opened, context, reporter, watch))


def run_entrypoint(function: Callable[[RunContext], Any], context: RunContext) -> Verdict:
    """What the function raises passes through, but for what the context raised itself."""
    try:
        function(context)
        _require_all_steps(context)
    except StopRequested:
        return _verdict(context, "Stopped", reasons.STOPPED, "stopped as asked", ExitCode.DONE)
    except NotFinite as error:
        return _verdict(context, "Failed", reasons.NUMERIC_FAILURE, str(error), ExitCode.NUMERIC_FAILURE)
    return _verdict(context, "Succeeded", reasons.COMPLETED, "trained", ExitCode.DONE)


def _require_all_steps(context: RunContext) -> None:
    done, wanted = context.position.step, context.run.training.steps
    if done < wanted:
        raise NoSteps(
            f"spec.training.entrypoint: {context.run.training.entrypoint}: returned after step {done} of "
            f"{wanted}: iterate over context.steps(model, optimizer) to its end"
        )


def _verdict(context: RunContext, outcome: Any, reason: str, message: str, exit_code: ExitCode) -> Verdict:
    entry = context.keeper.entry if context.keeper is not None else None
    return Verdict(
        outcome=outcome,
        reason=reason,
        message=f"{message}: {context.position.step} steps on {context.position.tokens} tokens",
        exit_code=exit_code,
        **place(context.epoch, context.position, entry),
    )
