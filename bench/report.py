"""What a benchmark prints: one JSON line for each measured point. It does not know what is measured."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Point:
    """`values` are of single runs, in `unit`. `goal` is of the ratio where there is a peer."""

    bench: str
    name: str
    values: Sequence[float]
    unit: str
    goal: float | None = None
    peer: str | None = None
    peer_values: Sequence[float] = ()
    higher_is_better: bool = False  # a rate rather than a time or a size


def line(point: Point) -> dict[str, Any]:
    """With a peer the ratio is the median over pairs, the way round that makes more than 1 better than it."""
    pairs = list(zip(point.values, point.peer_values, strict=False))
    ratios = [ours / theirs if point.higher_is_better else theirs / ours for ours, theirs in pairs]
    return {
        "bench": point.bench,
        "point": point.name,
        "value": round(statistics.median(point.values), 2),
        "unit": point.unit,
        "peer": point.peer,
        "ratio": round(statistics.median(ratios), 3) if ratios else None,
        "spread": [round(min(point.values), 2), round(max(point.values), 2)],
        "runs": len(point.values),
        "goal": point.goal,
        "environment": environment(),
    }


def environment() -> dict[str, Any]:
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    return {
        "cpus": os.cpu_count(),
        "memoryGiB": round(memory / 2**30),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 1),  # of other work: times are only as good as this is low
    }


def emit(point: Point) -> None:
    sys.stdout.write(json.dumps(line(point)) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for the lines."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
