"""Runs other programs: output goes to a log file, a failure says which command, why, and where to read.

It knows neither what the programs do nor who reads the report.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 12


class StepFailed(Exception):
    """A step cannot go on. `log` is the file that holds the whole story, where there is one."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


def run(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float | None = None,
) -> None:
    """Run to the end, appending stdout and stderr to `log`. Raises StepFailed with the end of the output.

    `stdin` is given to the command and not logged.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        sink.write(f"$ {shlex.join(command)}\n".encode())
        sink.flush()
        start = sink.tell()
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=_merged(environ),
                input=stdin.encode(),
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise _not_installed(command[0]) from error
        except subprocess.TimeoutExpired as error:
            raise StepFailed(
                f"`{shlex.join(command)}` did not end within {timeout:.0f} s", log=log
            ) from error
    if done.returncode != 0:
        raise StepFailed(_failure(command, done.returncode, tail(log, start)), log=log)


def output(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, timeout: float | None = 120
) -> str:
    """Standard output of a command that must succeed. Raises StepFailed with its standard error."""
    try:
        done = subprocess.run(
            command,
            env=_merged(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise _not_installed(command[0]) from error
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"`{shlex.join(command)}` did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise StepFailed(_failure(command, done.returncode, done.stderr.strip()))
    return done.stdout


def succeeds(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a question asked as a command is answered by exit status 0."""
    try:
        done = subprocess.run(command, env=_merged(environ), capture_output=True, timeout=120, check=False)
    except FileNotFoundError as error:
        raise _not_installed(command[0]) from error
    return done.returncode == 0


def require(programs: Sequence[str], *, purpose: str) -> None:
    """Raises StepFailed naming the programs that are not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        names = ", ".join(missing)
        raise StepFailed(f"{purpose} needs {names}, not found in PATH: apt-get install {' '.join(missing)}")


def tail(log: Path, start: int = 0) -> str:
    """The last lines of a log, from byte `start` on."""
    with log.open("rb") as source:
        source.seek(start)
        return "\n".join(source.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])


def _merged(environ: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if environ is None else {**os.environ, **environ}


def _failure(command: Sequence[str], status: int, said: str) -> str:
    return f"`{shlex.join(command)}` failed with exit status {status}:\n{said}"


def _not_installed(program: str) -> StepFailed:
    return StepFailed(f"{program} is not installed or not in PATH: apt-get install {Path(program).name}")
