"""The processes of a pod: start, watch, kill. The thin edge to the kernel; it decides nothing.

The supervisor is PID 1 of its pod (or a subreaper elsewhere), so every orphan becomes its child: it reaps all
of them, and all of its descendants can be found and killed.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
KILL_DEADLINE_SECONDS = 10.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Exit:
    name: str
    exit_code: int  # 128 + n for signal n
    uptime_seconds: float


@dataclass(frozen=True)
class _Child:
    name: str
    started: float


class Children:
    """`on_exit` is called in the event loop for each named child that ends by itself."""

    def __init__(self, on_exit: Callable[[Exit], None]) -> None:
        self._on_exit = on_exit
        self._named: dict[int, _Child] = {}

    def adopt_orphans(self, loop: asyncio.AbstractEventLoop) -> None:
        if os.getpid() != 1:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, name: str, argv: Sequence[str], *, environ: Mapping[str, str]) -> None:
        """Its own session, so that a terminal's or a parent's signals do not reach it."""
        process = subprocess.Popen(
            list(argv), env=dict(environ), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._named[process.pid] = _Child(name, time.monotonic())
        process.returncode = 0  # reaped below for all children alike; Popen must not wait for it

    def signal(self, name: str, number: signal.Signals) -> None:
        """To the process alone, not to what it started."""
        for pid, child in self._named.items():
            if child.name == name:
                os.kill(pid, number)

    async def kill_all(self) -> None:
        """SIGKILL to every descendant until none is left. Their ends are not reported to `on_exit`.

        Raises TimeoutError when the kernel does not let go of a process (a device or a mount that hangs).
        """
        self._named.clear()
        deadline = time.monotonic() + KILL_DEADLINE_SECONDS
        while pids := descendants(os.getpid()):
            for pid in pids:
                _kill(pid)
            self._reap()
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {sorted(pids)} outlive SIGKILL: the pod must be replaced")
            await asyncio.sleep(_POLL_SECONDS)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._named.pop(pid, None)
            if child is not None:
                code = os.waitstatus_to_exitcode(status)
                exit_code = code if code >= 0 else 128 - code
                self._on_exit(Exit(child.name, exit_code, time.monotonic() - child.started))


def descendants(root: int, *, proc: Path = Path("/proc")) -> set[int]:
    """PIDs below `root` in the tree of processes. Zombies are left out: they only wait to be reaped."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # "pid (comm) state ppid ...": comm may hold anything, so count from the last parenthesis.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if state not in ("Z", "X"):
            children.setdefault(int(parent), []).append(int(entry.name))
    found: set[int] = set()
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found.update(below)
        pending.extend(below)
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
