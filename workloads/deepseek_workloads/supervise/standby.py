"""A pod that holds a node for a run which waits for it: it does nothing until it is told to end."""

import signal

_ENDS = {signal.SIGTERM, signal.SIGINT}


def hold() -> int:
    """Until SIGTERM. Blocked signals are waited for: those of PID 1 are lost where nothing handles them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    signal.sigwait(_ENDS)
    return 0
