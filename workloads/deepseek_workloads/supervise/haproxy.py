"""The pod's HAProxy, where Ray Serve runs one (`proxy: haproxy`): a signal of its own tells it to stop."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from deepseek_workloads.supervise.children import descendants

# Its listener closes at once: those who send requests must have learnt before that this pod has gone.
ENDPOINTS_CHANGE_SECONDS = 1.0


def stop_softly() -> None:
    """SIGUSR1: no new connections, those that are open are answered to their end."""
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            if Path(program.decode()).name == "haproxy":
                os.kill(pid, signal.SIGUSR1)
