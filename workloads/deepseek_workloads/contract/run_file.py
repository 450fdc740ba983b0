"""A run config as a file: read for commands that people start, whose mistakes are one line each."""

from pathlib import Path

from pydantic import ValidationError

from deepseek_workloads.contract.run_config import AnyRun, parse_run


class UnusableRunConfig(Exception):
    """Names the file, what is wrong with it, and what to give instead."""


def read_run(path: Path) -> AnyRun:
    """Raises UnusableRunConfig."""
    try:
        return parse_run(path.read_bytes())
    except OSError as error:
        raise UnusableRunConfig(
            f"--run-config {path}: {error.strerror or error}: name the file run-config.json of the job's "
            "ConfigMap"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "document"
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise UnusableRunConfig(
            f"--run-config {path}: {place}: {first['msg']}{more}: give a run config of this version, "
            "run-config.json of the job's ConfigMap"
        ) from error
