"""What passes between the engine's thread and the event loop of whoever asked."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from deepseek_workloads.export.generate import Sampling

FinishReason = Literal["stop", "length"]


class EngineError(Exception):
    """The engine could not answer this request; others are not touched."""


class QueueFull(Exception):
    """As many requests wait as may. The message says how many."""


@dataclass(frozen=True)
class Generation:
    prompt: tuple[int, ...]  # token ids, not empty
    sampling: Sampling
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delta:
    text: str
    tokens: int  # generated since the last delta; their text may still be held back
    finish_reason: FinishReason | None = None


class Answer:
    """A letter box, not a queue: what the reader has not fetched is joined to one delta. A slow reader thus
    never holds the engine, nor more memory than its answer."""

    def __init__(self) -> None:
        """In a running event loop, which is the only one that may read."""
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._lock = threading.Lock()  # of the fields below
        self._text: list[str] = []
        self._tokens = 0
        self._finish_reason: FinishReason | None = None
        self._error: str | None = None
        self._cancelled = False

    # ---- the reader's side

    async def deltas(self) -> AsyncIterator[Delta]:
        """Up to the one with a finish reason. Raises EngineError. Whoever stops reading must `cancel`."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            delta = self._take()
            if delta.text or delta.tokens or delta.finish_reason:
                yield delta
            if delta.finish_reason:
                return

    def cancel(self) -> None:
        """The engine gives up the place of the request before its next step."""
        with self._lock:
            self._cancelled = True

    def _take(self) -> Delta:
        with self._lock:
            delta = Delta("".join(self._text), self._tokens, self._finish_reason)
            self._text, self._tokens = [], 0
            if self._error is not None:
                raise EngineError(self._error)
            return delta

    # ---- the engine's side

    @property
    def cancelled(self) -> bool:
        with self._lock:
            return self._cancelled

    def put(self, delta: Delta) -> None:
        with self._lock:
            self._text.append(delta.text)
            self._tokens += delta.tokens
            self._finish_reason = delta.finish_reason
        self._tell()

    def fail(self, message: str) -> None:
        with self._lock:
            self._error = message
        self._tell()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._arrived.set)
