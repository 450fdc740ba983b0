"""When to try again: exponential backoff with full jitter, until a budget of time is used up. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """Time ends the retries, not their number: requests that fail at once would use that up in seconds."""

    attempts: int | None = None  # None: as many as the budget allows
    budget_seconds: float = 90.0  # since the first failure; no new attempt is begun after this
    base_seconds: float = 0.2
    cap_seconds: float = 10.0

    def delay(self, failures: int, *, elapsed: float, uniform: Callable[[], float]) -> float | None:
        """Seconds to wait after the `failures`-th failure in a row, or None: give up.

        `elapsed` is in seconds since the first failure, `uniform` gives a number in [0, 1). Full jitter
        spreads the ranks of a job over the whole interval.
        """
        if self.attempts is not None and failures >= self.attempts:
            return None
        doublings = min(failures - 1, 64)  # far above any cap, and within a float's range
        wait = uniform() * min(self.cap_seconds, self.base_seconds * 2.0**doublings)
        return wait if elapsed + wait < self.budget_seconds else None
