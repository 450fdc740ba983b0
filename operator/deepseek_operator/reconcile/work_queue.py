"""A queue of keys: a key is worked on by one worker at a time, and once for any number of additions.

It does not know what work is. One event loop only.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from deepseek_operator.reconcile.key import Key


@dataclass(frozen=True)
class Backoff:
    """Seconds before the n-th retry of a failing key: exponential with a cap, times 0.5 to 1 at random."""

    first: float = 0.5
    factor: float = 2.0
    cap: float = 60.0

    def delay(self, failures: int, *, jitter: float) -> float:
        """`failures` >= 1; `jitter` in [0, 1)."""
        exponent = min(failures - 1, 32)
        return float(min(self.cap, self.first * self.factor**exponent) * (0.5 + 0.5 * jitter))


class WorkQueue:
    """`get` a key, work, then say `done` or `failed`: each of these names when to come back."""

    def __init__(
        self, *, backoff: Backoff | None = None, jitter: Callable[[], float] = random.random
    ) -> None:
        self._backoff = backoff or Backoff()
        self._jitter = jitter
        self._ready: deque[Key] = deque()
        self._wanted: set[Key] = set()  # in `_ready`, or added while being worked on
        self._working: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._available = asyncio.Semaphore(0)

    def add(self, key: Key) -> None:
        """As soon as a worker is free; nothing when the key waits already."""
        self._cancel_timer(key)
        if key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._working:
            self._make_ready(key)

    async def get(self) -> Key:
        """The next key; nobody else gets it until it is done or failed."""
        await self._available.acquire()
        key = self._ready.popleft()
        self._wanted.discard(key)
        self._working.add(key)
        return key

    def done(self, key: Key, *, after: float | None = None) -> None:
        """Worked on with success; `after`: come back in so many seconds, unless something happens before."""
        self._failures.pop(key, None)
        self._finish(key, after)

    def failed(self, key: Key) -> float:
        """Returns the seconds until the key is tried again."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        delay = self._backoff.delay(failures, jitter=self._jitter())
        self._finish(key, delay)
        return delay

    def failures(self, key: Key) -> int:
        return self._failures.get(key, 0)

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ready)

    def close(self) -> None:
        """Forgets every timer."""
        for key in list(self._timers):
            self._cancel_timer(key)

    def _finish(self, key: Key, after: float | None) -> None:
        self._working.discard(key)
        if key in self._wanted:
            self._make_ready(key)
        elif after is not None:
            self._cancel_timer(key)
            self._timers[key] = asyncio.get_running_loop().call_later(after, self.add, key)

    def _make_ready(self, key: Key) -> None:
        self._ready.append(key)
        self._available.release()

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
