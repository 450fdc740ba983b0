"""The cluster's control groups (version 1). Every process of a cluster, daemon or pod, lives below one group:
that is how they are all found again, whatever crashed. It does not know what the processes are."""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from local_kubernetes.commands import wait_until
from local_kubernetes.errors import DeadlineError, LocalKubernetesError

MOUNT = Path("/sys/fs/cgroup")
HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
# Processes are looked up in one hierarchy; the kernel's pid controller is on every kernel that runs
# Kubernetes.
_LOOKUP = "pids"
_PARENT = PurePosixPath("deepseek-local-kubernetes")


def group_of(cluster: str, *parts: str) -> PurePosixPath:
    """The group of a cluster or of a part of it, relative to every hierarchy's root."""
    return _PARENT.joinpath(cluster, *parts)


def require_version_1() -> None:
    """Raises LocalKubernetesError on a machine with the unified hierarchy only."""
    missing = [name for name in ("cpu", "cpuset", "memory", _LOOKUP) if not (MOUNT / name / "tasks").exists()]
    if missing:
        raise LocalKubernetesError(
            f"{MOUNT}: no cgroup v1 hierarchies {', '.join(missing)}; this tool was built for machines with "
            "cgroup v1. Use a cluster of your own instead (make demo CLUSTER=current)"
        )


def create(group: PurePosixPath) -> None:
    """Makes the group in each hierarchy that the machine has."""
    for hierarchy in _mounted():
        path = hierarchy
        for part in group.parts:
            path = path / part
            path.mkdir(exist_ok=True)
            if hierarchy.name == "cpuset":
                # A new cpuset is empty, and no process may enter an empty one.
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (path / file).write_text((path.parent / file).read_text())


def enter_command(group: PurePosixPath, command: Sequence[str | Path], *, launch: str) -> list[str]:
    """A shell that enters the group and then runs the snippet `launch`, to which the command is "$@"."""
    joins = "; ".join(f"echo $$ > {hierarchy / group}/cgroup.procs" for hierarchy in _mounted())
    return ["sh", "-ec", f"{joins}; {launch}", "sh", *map(str, command)]


def processes(group: PurePosixPath) -> set[int]:
    """Pids in the group and below it; none when there is no such group."""
    found: set[int] = set()
    for folder, _, _ in os.walk(MOUNT / _LOOKUP / group):
        with contextlib.suppress(FileNotFoundError, OSError):
            found.update(int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split())
    return found


def kill(group: PurePosixPath, *, seconds: float = 20) -> None:
    """Kills everything in the group, again until nothing is left. Raises DeadlineError with what stays."""

    def all_gone() -> bool:
        left = processes(group)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    try:
        wait_until(all_gone, what=f"end of the processes in {group}", seconds=seconds)
    except DeadlineError as error:
        raise DeadlineError(f"{error}; left: {sorted(processes(group))}") from error


def remove(group: PurePosixPath, *, seconds: float = 5) -> None:
    """Removes the group and those below it, and the parent of all clusters if it is empty then."""

    def removed() -> bool:
        for hierarchy in _mounted():
            for folder, _, _ in os.walk(hierarchy / group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        return not remaining(group)

    wait_until(removed, what=f"removal of the control groups {group}", seconds=seconds)
    for hierarchy in _mounted():
        with contextlib.suppress(OSError):
            (hierarchy / _PARENT).rmdir()


def remaining(group: PurePosixPath) -> list[Path]:
    """The folders of the group that exist."""
    return [hierarchy / group for hierarchy in _mounted() if (hierarchy / group).exists()]


def _mounted() -> list[Path]:
    return [MOUNT / name for name in HIERARCHIES if (MOUNT / name / "cgroup.procs").exists()]
