"""Who is still connected to a port of this pod: the kernel's own list. It closes nothing."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

_ESTABLISHED = "01"
_POLL_SECONDS = 0.1
QUIET_SECONDS = 2.0  # without any: those who still have the old address have been heard


def established(port: int, *, proc: Path = Path("/proc/net")) -> int:
    """Connections to the local port, over IPv4 and IPv6, in this network namespace."""
    return sum(_count(proc / name, port) for name in ("tcp", "tcp6"))


async def until_quiet(busy: Callable[[], bool], *, limit_seconds: float) -> bool:
    """Until nothing has been busy for QUIET_SECONDS. False: it still was after the limit."""
    deadline = time.monotonic() + limit_seconds
    quiet_since: float | None = None
    while (now := time.monotonic()) < deadline:
        if busy():
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since >= QUIET_SECONDS:
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _count(table: Path, port: int) -> int:
    """Of lines as `sl local_address rem_address st ...`, addresses as hex with the port behind the colon."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:  # no IPv6 here
        return 0
    suffix = f":{port:04X}"
    fields = (line.split() for line in lines)
    return sum(1 for field in fields if field[1].endswith(suffix) and field[3] == _ESTABLISHED)
