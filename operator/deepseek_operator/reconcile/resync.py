"""When the objects beside the pods were last held against what they should be: no watch tells of them.

An optimisation only, held in memory: a process that knows nothing looks at once.
"""

from datetime import datetime, timedelta

from deepseek_operator.reconcile.key import Key


class Resync:
    """`seconds` from one look to the next."""

    def __init__(self, *, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)
        self._looked: dict[Key, datetime] = {}

    def due(self, key: Key, *, now: datetime) -> bool:
        last = self._looked.get(key)
        return last is None or now - last >= self._interval

    def done(self, key: Key, *, now: datetime) -> None:
        self._looked[key] = now

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._looked.pop(key, None)
