"""How long reads take, measured where they happen and asked for elsewhere. It does not know what is read."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Latency:
    """Of calls in any number of threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds, self._calls = 0.0, 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around one call; one that fails is not counted."""
        begun = self._clock()
        yield
        with self._lock:
            self._seconds += self._clock() - begun
            self._calls += 1

    def take(self) -> float | None:
        """Mean seconds of the calls that ended since the last `take`; None: there were none."""
        with self._lock:
            seconds, calls = self._seconds, self._calls
            self._seconds, self._calls = 0.0, 0
        return seconds / calls if calls else None
