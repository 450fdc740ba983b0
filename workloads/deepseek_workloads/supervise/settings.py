"""What a supervisor is told by its pod's environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepseek_workloads.contract import environment

DEFAULT_GRACE_SECONDS = 30.0
_ROLES = (environment.ROLE_COORDINATOR, environment.ROLE_WORKER, environment.ROLE_STANDBY)


class SettingsError(Exception):
    """A variable is missing or wrong. The message names it."""


@dataclass(frozen=True)
class Settings:
    role: str
    pod_name: str
    pod_ip: str
    worker_index: int
    incarnation: int
    coordinator_host: str
    token: str
    run_config_path: Path
    grace_seconds: float
    drain_file: Path = Path(environment.DRAIN_FILE)
    scratch: Path = Path(environment.SCRATCH_DIR)
    termination_message_path: Path = Path(environment.TERMINATION_MESSAGE_PATH)


def settings_from(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    role = _required(environ, environment.ROLE)
    if role not in _ROLES:
        known = ", ".join(_ROLES)
        raise SettingsError(
            f"{environment.ROLE}: {role!r}: must be one of {known}; start pods by the operator"
        )
    return Settings(
        role=role,
        pod_name=_required(environ, environment.POD_NAME),
        pod_ip=_required(environ, environment.POD_IP),
        worker_index=_number(environ, environment.WORKER_INDEX, default=0),
        incarnation=_number(environ, environment.INCARNATION, default=0),
        coordinator_host=_required(environ, environment.COORDINATOR_HOST),
        token=_required(environ, environment.JOB_TOKEN),
        run_config_path=Path(environ.get(environment.RUN_CONFIG_PATH, environment.RUN_CONFIG_FILE)),
        grace_seconds=float(
            _number(environ, environment.TERMINATION_GRACE_SECONDS, default=int(DEFAULT_GRACE_SECONDS))
        ),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"{name}: not set: every pod of a run has it; start pods by the operator")
    return value


def _number(environ: Mapping[str, str], name: str, *, default: int) -> int:
    value = environ.get(name, "")
    if not value:
        return default
    try:
        return int(value)
    except ValueError as error:
        raise SettingsError(f"{name}: {value!r}: must be a whole number") from error
