"""Which requests break, and how. It does not know sockets."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "none",  # the request passes, and is counted off
    "busy",  # 503 SlowDown
    "error",  # 500 InternalError
    "reset",  # the connection breaks before the server hears of the request
    "reset in body",  # the connection breaks (RST) after half of the body
    "cut",  # the connection ends in order after half of the body
    "flip",  # one bit of the body is another
    "answer lost",  # the server does the work; the connection breaks before the answer
    "stall",  # the answer begins `seconds` later
]


@dataclass(frozen=True)
class Fault:
    kind: Kind
    method: str = ""  # only of such requests; "" is any
    path: str = ""  # only where the path contains it
    seconds: float = 0.0  # of a stall

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"fault {self.kind!r}: one of {', '.join(get_args(Kind))}")

    def meets(self, method: str, path: str) -> bool:
        return self.method in ("", method) and self.path in path


class Faults:
    """Each is used once, by the first request that it meets. For any thread."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def replace(self, faults: Sequence[Fault]) -> None:
        with self._lock:
            self._waiting = list(faults)

    def add(self, faults: Sequence[Fault]) -> None:
        with self._lock:
            self._waiting.extend(faults)

    def take(self, method: str, path: str) -> Fault:
        with self._lock:
            for place, fault in enumerate(self._waiting):
                if fault.meets(method, path):
                    return self._waiting.pop(place)
        return Fault("none")
