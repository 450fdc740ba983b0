"""Starts the long-running programs of a cluster, each in its control group with a log file and a pid file,
and tells whether they still run. It does not know what they are."""

import os
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from local_kubernetes import cgroups
from local_kubernetes.commands import run
from local_kubernetes.errors import LocalKubernetesError

_LOG_TAIL = 15


@dataclass(frozen=True)
class Daemon:
    """A started program; it outlives the tool."""

    name: str
    group: PurePosixPath
    log: Path
    pid_file: Path

    @property
    def pid(self) -> int | None:
        """None when it does not run. A pid that some other process has by now is not taken for ours."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in cgroups.processes(self.group) and not _is_zombie(pid) else None

    def require_running(self) -> None:
        """Raises LocalKubernetesError with the end of its log."""
        if self.pid is None:
            raise LocalKubernetesError(
                f"{self.name} is not running; the end of {self.log}:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])

    def kill(self) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def start(daemon: Daemon, command: Sequence[str | Path], *, cwd: Path) -> None:
    """Starts the command as nobody's child in a session of its own, so that nothing that ends the tool ends
    it."""
    daemon.log.parent.mkdir(parents=True, exist_ok=True)
    launch = f'setsid "$@" </dev/null >>{shlex.quote(str(daemon.log))} 2>&1 & echo $!'
    daemon.pid_file.write_text(run(cgroups.enter_command(daemon.group, command, launch=launch), cwd=cwd))


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
