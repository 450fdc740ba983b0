"""`python -m deepseek_workloads.supervise`: PID 1 of every pod of a run."""

import asyncio
import os
import sys

import pydantic

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import AnyRun, parse_run
from deepseek_workloads.supervise import standby
from deepseek_workloads.supervise.event_log import log
from deepseek_workloads.supervise.settings import Settings, SettingsError, settings_from


def main() -> int:
    try:
        settings = settings_from(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.BAD_INPUT
    if settings.role == environment.ROLE_STANDBY:
        return standby.hold()
    run = _read_run(settings)
    if run is None:
        return ExitCode.BAD_INPUT
    if settings.role == environment.ROLE_COORDINATOR:
        from deepseek_workloads.supervise.coordinator import Coordinator  # aiohttp: not on workers

        return asyncio.run(Coordinator(settings, run, environ=os.environ).run())
    from deepseek_workloads.supervise.worker import Worker

    return asyncio.run(Worker(settings, run, environ=os.environ).run())


def _read_run(settings: Settings) -> AnyRun | None:
    try:
        return parse_run(settings.run_config_path.read_bytes())
    except (OSError, pydantic.ValidationError) as error:
        verdict = Verdict(
            outcome="Failed",
            reason=reasons.INVALID_RUN_CONFIG,
            message=f"{settings.run_config_path}: {error}: use an image of the operator's own version",
            exit_code=ExitCode.BAD_INPUT,
        )
        log("verdict", **verdict.model_dump(mode="json", exclude_defaults=True))
        settings.termination_message_path.write_bytes(verdict.to_termination_message())
        return None


if __name__ == "__main__":
    sys.exit(main())
