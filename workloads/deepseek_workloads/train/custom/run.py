"""Runs a user's training function in place of our loop, and tells how it ended."""

import importlib
import re
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

ENTRYPOINT: Final = re.compile(r"^(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)$")


class EntrypointInvalid(Exception):
    """What `module:function` names is not there, or cannot be called."""


def load_entrypoint(entrypoint: str, *, field: str) -> Callable[..., Any]:
    """Imports the module. Raises EntrypointInvalid, which names `field`."""
    match = ENTRYPOINT.match(entrypoint)
    if match is None:
        raise EntrypointInvalid(f"{field}: {entrypoint!r}: must be module:function, such as my.code:train")
    try:
        module = importlib.import_module(match["module"])
    except Exception as error:  # whatever it runs into would be there at the next start, too
        raise EntrypointInvalid(
            f"{field}: {entrypoint!r}: its module cannot be imported: {type(error).__name__}: {error}: "
            "put it, in order, on the PYTHONPATH of spec.image"
        ) from error
    function = getattr(module, match["name"], None)
    if not callable(function):
        raise EntrypointInvalid(f"{field}: {entrypoint!r}: the module has no function {match['name']!r}")
    return function  # type: ignore[no-any-return]


def train_custom(run: TrainingRun, context: TrainContext, watch: Stopwatch) -> Verdict:
    """On every rank of the group; all return the same verdict. Raises as `loop.train`, and what the function
    raises."""
    try:
        function = load_entrypoint(run.training.entrypoint or "", field="spec.training.entrypoint")
    except EntrypointInvalid as error:
        return Verdict(
            outcome="Failed",
            reason=reasons.INVALID_RUN_CONFIG,
            message=str(error),
            exit_code=ExitCode.BAD_INPUT,
        )
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
