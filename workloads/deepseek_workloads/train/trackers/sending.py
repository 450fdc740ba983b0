"""A thread between a run and a tracker: a server that is slow, away or broken costs no step and no run.

Points wait in memory, a bounded number of them; what is too much, or could not be sent before the end, is
lost there and nowhere else: the store has all of them.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deepseek_workloads.train.trackers.interface import Point, Tracker

_WAITING = 20_000  # points; some 20 figures each
_BATCH_SECONDS = 5.0
_CLOSE_SECONDS = 30.0
_LONGEST_PAUSE = 300.0  # seconds between two tries


@dataclass(frozen=True)
class _End:
    finished: bool


class TrackerThread:
    """Every method but `close` returns at once; none raises."""

    def __init__(
        self,
        name: str,
        open_tracker: Callable[[], Tracker],
        *,
        batch_seconds: float = _BATCH_SECONDS,
        close_seconds: float = _CLOSE_SECONDS,
    ) -> None:
        self.name = name
        self._open = open_tracker
        self._batch_seconds, self._close_seconds = batch_seconds, close_seconds
        self._waiting: deque[Point] = deque(maxlen=_WAITING)
        self._end: _End | None = None
        self._changed = threading.Condition()
        self._warning = ""
        self._thread = threading.Thread(target=self._run, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    @property
    def warning(self) -> str:
        """Why the newest points are not there; empty while they are."""
        return self._warning

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """What is not finite is left away: curves have no place for it."""
        finite = {name: value for name, value in scalars.items() if math.isfinite(value)}
        if finite:
            with self._changed:
                self._waiting.append(Point(step, time.time(), finite))

    def close(self, *, finished: bool) -> None:
        """Sends what waits, for a bounded time."""
        with self._changed:
            self._end = _End(finished)
            self._changed.notify()
        self._thread.join(self._close_seconds)

    def _run(self) -> None:
        pause = self._batch_seconds
        tracker: Tracker | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._end is not None, timeout=pause)
                points, end = list(self._waiting), self._end
            try:
                tracker = tracker or self._open()
                if points:
                    tracker.log(points)
                self._sent(points)
                pause = self._batch_seconds
                if end is not None:
                    tracker.close(finished=end.finished)
            except Exception as error:  # of any library, for any reason: never the run's end
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._warning = f"{self.name} does not get this run's metrics: {_first_line(error)}"
            if end is not None:
                return

    def _sent(self, points: list[Point]) -> None:
        self._warning = ""
        with self._changed:
            for point in points:
                if self._waiting and self._waiting[0] is point:  # else it was too old to wait
                    self._waiting.popleft()


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
