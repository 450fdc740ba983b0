"""When to try again: exponential backoff with full jitter, under a budget. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    attempts: int = 8
    budget_seconds: float = 90.0  # no new attempt is begun after this
    base_seconds: float = 0.2
    cap_seconds: float = 10.0

    def delay(self, failures: int, *, elapsed: float, uniform: Callable[[], float]) -> float | None:
        """Seconds to wait after the `failures`-th failure in a row, or None: give up.

        `uniform` gives a number in [0, 1). Full jitter spreads the ranks of a job over the whole interval.
        """
        if failures >= self.attempts:
            return None
        wait = uniform() * min(self.cap_seconds, self.base_seconds * 2.0 ** (failures - 1))
        return wait if elapsed + wait < self.budget_seconds else None
