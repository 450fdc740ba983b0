"""Waits for a condition, with a deadline, and says at the deadline what was seen last."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    observe: Callable[[], T],
    *,
    holds: Callable[[T], object],
    what: str,
    deadline_seconds: float,
    poll_seconds: float = 0.5,
    give_up: Callable[[T], str] | None = None,
    describe: Callable[[T], str] = repr,
) -> T:
    """The first observation for which `holds`. Raises AssertionError at the deadline, or as soon as `give_up`
    returns why the condition can no longer come true."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        seen = observe()
        if holds(seen):
            return seen
        hopeless = give_up(seen) if give_up else ""
        if hopeless:
            raise AssertionError(f"{what}: {hopeless}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {deadline_seconds:.0f} s; last seen: {describe(seen)}")
        time.sleep(poll_seconds)
