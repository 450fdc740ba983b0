"""Calls programs and waits for conditions. It knows nothing of clusters."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from local_kubernetes.errors import CommandError, DeadlineError

_POLL_SECONDS = 0.05


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Standard output of the command. Raises CommandError with its standard error."""
    arguments = [str(part) for part in command]
    done = subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, check=False, cwd=cwd, env=env
    )
    if done.returncode != 0:
        raise CommandError(f"{' '.join(arguments)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether the command exits with 0; what it prints is dropped."""
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0


def wait_until(
    condition: Callable[[], bool],
    *,
    what: str,
    seconds: float,
    still_possible: Callable[[], None] = lambda: None,
) -> None:
    """Returns when the condition holds. `still_possible` raises when it never will, so that a process that
    died costs no deadline. Raises DeadlineError."""
    deadline = time.monotonic() + seconds
    while not condition():
        still_possible()
        if time.monotonic() > deadline:
            raise DeadlineError(f"{what}: not within {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)
