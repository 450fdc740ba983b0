"""The lines on the epoch connection between a worker's supervisor and the coordinator's. Pure.

worker -> coordinator: one hello line (JSON with the job's token), and `leaving` when its pod ends.
coordinator -> worker: `epoch N` once a Ray head of this epoch has been started, `done` when the run is over.
The end of the connection says the rest: the Ray cluster of this epoch is gone; what needs it must be killed.
"""

import hmac
from dataclasses import dataclass

import pydantic

from deepseek_workloads.contract.wire import TolerantWireModel

MAX_LINE_BYTES = 4096
DONE = b"done\n"
LEAVING = b"leaving\n"


class Hello(TolerantWireModel):
    token: str
    pod: str
    index: int


@dataclass(frozen=True)
class EpochLine:
    epoch: int


@dataclass(frozen=True)
class DoneLine:
    pass


def hello_line(hello: Hello) -> bytes:
    return hello.to_json() + b"\n"


def parse_hello(line: bytes, *, token: str) -> Hello | None:
    """None: malformed, or not this job's token (compared in constant time)."""
    try:
        hello = Hello.model_validate_json(line)
    except pydantic.ValidationError:
        return None
    return hello if hmac.compare_digest(hello.token.encode(), token.encode()) else None


def epoch_line(epoch: int) -> bytes:
    return b"epoch %d\n" % epoch


def parse_line(line: bytes) -> EpochLine | DoneLine | None:
    """None for what is neither: the connection is then treated as broken."""
    if line == DONE:
        return DoneLine()
    word, _, number = line.rstrip(b"\n").partition(b" ")
    if word == b"epoch" and number.isdigit() and line.endswith(b"\n"):
        return EpochLine(int(number))
    return None
