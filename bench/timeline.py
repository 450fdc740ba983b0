"""Times from the logs of a job's pods, read with `kubectl logs --timestamps`. Pure.

Pods of the local Kubernetes share the machine's clock; elsewhere the times are as good as the nodes' clocks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Record:
    """One JSON line of a pod."""

    at: float  # seconds since the epoch
    pod: str
    fields: Mapping[str, Any]


def records(pod: str, log: str) -> Iterator[Record]:
    """Lines that are not JSON objects are Ray's or torch's, and are left out."""
    for text in log.splitlines():
        stamp, _, message = text.partition(" ")
        if not message.startswith("{"):
            continue
        try:
            fields = json.loads(message)
            at = datetime.fromisoformat(_microseconds(stamp)).timestamp()
        except ValueError:
            continue
        yield Record(at, pod, fields)


def _microseconds(stamp: str) -> str:
    """RFC 3339 with nanoseconds -> what datetime takes."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:6] or '0'}+00:00"


def first(found: Sequence[Record], **wanted: object) -> float:
    """The time of the first record with these fields. Raises LookupError."""
    for record in sorted(found, key=lambda record: record.at):
        if all(record.fields.get(name) == value for name, value in wanted.items()):
            return record.at
    raise LookupError(f"no record with {wanted}")


def first_step_after(found: Sequence[Record], moment: float, *, epoch: int) -> float | None:
    """Of an epoch later than `epoch`; None: not yet. Rank 0 says a step when all ranks have done it."""
    steps = [
        record.at
        for record in found
        if record.fields.get("event") == "step"
        and record.at > moment
        and int(record.fields.get("epoch", 0)) > epoch
    ]
    return min(steps, default=None)


def last_epoch(found: Sequence[Record]) -> int:
    return max((int(record.fields["epoch"]) for record in found if "epoch" in record.fields), default=0)


def start_parts(applied: float, coordinator: Sequence[Record], workers: Sequence[Record]) -> dict[str, float]:
    """Seconds of each part between `kubectl apply` and the first step. Raises LookupError before that."""
    supervisor = {"component": "supervisor", "event": "event"}
    coordinator_up = first(coordinator, **supervisor, what="Started")
    ready = first(coordinator, **supervisor, what="PreflightExited")
    pods = {record.pod for record in workers}
    connected = [
        first([record for record in workers if record.pod == pod], **supervisor, what="Connected")
        for pod in pods
    ]
    ranks = first(coordinator, **supervisor, what="RanksRunning")
    step = first(workers, event="step")
    marks = [applied, coordinator_up, ready, max(connected), ranks, step]
    names = [
        "apply to coordinator's supervisor",
        "preflight",
        "ready to workers' supervisors",
        "Ray up and ranks started",
        "model, data and first step",
    ]
    parts = {name: later - earlier for name, earlier, later in zip(names, marks[:-1], marks[1:], strict=True)}
    return parts | {"apply to first step": step - applied}
