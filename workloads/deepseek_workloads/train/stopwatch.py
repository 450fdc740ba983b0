"""Where the time of a run goes, and how fast it is. It measures; it does not know what is done in between."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WINDOW = 20  # steps that the speed is a mean of


class Stopwatch:
    """Seconds by part; what is in no part is `other`. Parts do not nest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._seconds: dict[str, float] = {}
        self._steps: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begun = self._clock()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - begun

    @contextmanager
    def step(self, tokens: Callable[[], int]) -> Iterator[None]:
        """One training step, the wait for data included. `tokens`: over all ranks, asked at its end."""
        begun = self._clock()
        yield
        self._steps.append((self._clock() - begun, tokens()))

    @property
    def seconds(self) -> dict[str, float]:
        total = self._clock() - self._begun
        return {**self._seconds, "other": total - sum(self._seconds.values()), "total": total}

    @property
    def tokens_per_second(self) -> float | None:
        seconds = sum(seconds for seconds, _ in self._steps)
        return sum(tokens for _, tokens in self._steps) / seconds if seconds > 0 else None

    @property
    def seconds_per_step(self) -> float | None:
        return sum(seconds for seconds, _ in self._steps) / len(self._steps) if self._steps else None
