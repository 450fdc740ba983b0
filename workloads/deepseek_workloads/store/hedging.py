"""A second request for one that takes far longer than others, so that nobody waits for a store's tail.

After Dean and Barroso, "The Tail at Scale" (2013): the copy goes out when the 95th percentile of recent
requests has passed, and copies are a small share of all requests, so that a store which is slow throughout
does not get twice the load. It does not know what a request is.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")

PERCENTILE = 0.95
SHARE = 0.05  # of the requests may have a copy
_RECENT, _ENOUGH = 128, 16  # requests that are remembered, and that it takes to know the percentile
_LEAST_SECONDS = 0.05


class Hedging:
    """Of the requests of one store, on one event loop."""

    def __init__(self, *, share: float = SHARE, least_seconds: float = _LEAST_SECONDS) -> None:
        self.copies = 0
        self._share = share
        self._least_seconds = least_seconds
        self._requests = 0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def delay(self) -> float | None:
        """Seconds after which a request gets a copy; None: none may have one now."""
        if len(self._recent) < _ENOUGH or self.copies >= self._share * self._requests:
            return None
        rising = sorted(self._recent)
        return max(self._least_seconds, rising[int(PERCENTILE * len(rising))])

    async def run(self, request: Callable[[], Awaitable[Result]]) -> Result:
        """What `request` answers, or its copy where that is sooner. Raises what the last of them raises."""
        self._requests += 1
        begun = time.monotonic()
        running: set[asyncio.Future[Result]] = {asyncio.ensure_future(request())}
        try:
            await asyncio.wait(running, timeout=self.delay())
            if not any(task.done() for task in running) and self.delay() is not None:
                self.copies += 1
                running.add(asyncio.ensure_future(request()))
            result = await _first_success(running)
        finally:
            for task in running:
                task.cancel()
        self._recent.append(time.monotonic() - begun)
        return result


async def _first_success(running: set["asyncio.Future[Result]"]) -> Result:
    """`running` keeps those that have not ended. Raises the error of the last when all fail."""
    while True:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        running -= done
        succeeded = [task for task in done if task.exception() is None]
        if succeeded or not running:
            return (succeeded or list(done))[0].result()
