"""How long to wait before a process is started again. Pure; it knows no clock."""

from collections.abc import Callable

FIRST_SECONDS = 0.5
CAP_SECONDS = 60.0
STABLE_SECONDS = 60.0  # a process that ran this long starts with a clean slate


def next_delay(previous_delay: float | None, *, uptime_seconds: float) -> float:
    """Seconds: none after a stable run or at the first failure, then 0.5, 1, 2, ... up to CAP_SECONDS.

    `previous_delay` is what was waited before the run that has just ended (None: it was the first).
    """
    if previous_delay is None or uptime_seconds >= STABLE_SECONDS:
        return 0.0
    if previous_delay == 0.0:
        return FIRST_SECONDS
    return min(CAP_SECONDS, 2 * previous_delay)


def spread(delay: float, *, uniform: Callable[[], float]) -> float:
    """Between half and all of it: pods that lost the same store or head do not come back in step.

    `uniform` gives a number in [0, 1).
    """
    return delay * (0.5 + 0.5 * uniform())
