"""Workers that take keys from the queue and run the reconcile function of their kind.

They know when a pass failed and when it wants to come back, not what it did.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from deepseek_operator.cluster.interface import ClusterError, Conflict
from deepseek_operator.cluster.kinds import Kind
from deepseek_operator.metrics import Metrics
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.work_queue import WorkQueue

_LOG = logging.getLogger(__name__)
_HUNG: Final = 2  # times the limit of a pass

Reconcile = Callable[[Key], Awaitable[float | None]]
"""Returns the seconds after which to come back, or None: only when something happens."""


class Workers:
    def __init__(
        self,
        queue: WorkQueue,
        *,
        reconcilers: Mapping[Kind, Reconcile],
        metrics: Metrics,
        timeout_seconds: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._reconcilers = reconcilers
        self._metrics = metrics
        self._timeout = timeout_seconds
        self._monotonic = monotonic
        self._begun: dict[Key, float] = {}  # of the passes under way

    async def run(self, count: int) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                group.create_task(self._work(), name=f"reconcile {index}")

    def hung(self) -> str:
        """Why the workers are not healthy: a pass that outlives its time limit does not end by itself."""
        key, begun = min(self._begun.items(), key=lambda item: item[1], default=(None, 0.0))
        seconds = self._monotonic() - begun
        if key is None or seconds < _HUNG * self._timeout:
            return ""
        return f"the pass over {key} has taken {seconds:.0f} s, its limit is {self._timeout:.0f} s"

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            started = self._begun[key] = self._monotonic()
            result = await self.reconcile_once(key)
            del self._begun[key]
            self._metrics.reconciles.labels(kind=key.kind.kind, result=result).inc()
            self._metrics.reconcile_seconds.labels(kind=key.kind.kind).observe(self._monotonic() - started)

    async def reconcile_once(self, key: Key) -> str:
        """One pass; the result in a word, for the metric. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(self._timeout):
                after = await self._reconcilers[key.kind](key)
        except Conflict as error:
            # Somebody wrote in between: look again, with what is there now.
            self._retry(key, logging.DEBUG, "changed while being reconciled", error)
            return "conflict"
        except (ClusterError, TimeoutError) as error:
            self._retry(key, logging.WARNING, "the API server", error)
            return "unavailable"
        except Exception as error:
            _LOG.exception("%s: a defect of the operator", key)
            self._retry(key, logging.ERROR, "unexpected", error)
            return "error"
        self._queue.done(key, after=after)
        return "done"

    def _retry(self, key: Key, level: int, what: str, error: BaseException) -> None:
        delay = self._queue.failed(key)
        self._metrics.retries.labels(kind=key.kind.kind).inc()
        _LOG.log(level, "%s: %s: %s: %s; again in %.1f s", key, what, type(error).__name__, error, delay)
