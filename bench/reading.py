"""How one loader reads: measured the same way for all, in a process of its own, told as one JSON line.

It runs in our environment and in the peers', so it needs the standard library only.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OpenLoader = Callable[[], tuple[Iterator[Any], Callable[[], None]]]  # its batches, and what closes it
_SETTLED = 0.25  # share of the samples after which memory ought not to grow


@dataclass(frozen=True)
class Reading:
    first_batch_seconds: float  # from opening, nothing cached
    tokens_per_second: float  # from the first batch on
    cpu_seconds_per_gb: float  # of the process and its workers, user and system, imports not counted
    memory_growth_mib: (
        float  # resident memory of the reading process, from a quarter of the samples to the end
    )


def measure(open_loader: OpenLoader, *, batch_size: int, sequence_length: int, samples: int) -> None:
    """`samples` in batches of `batch_size`; a token is two bytes in the store."""
    cpu_before, begun = _cpu_seconds(), time.perf_counter()
    batches, close = open_loader()
    next(batches)
    first = time.perf_counter()
    steps = samples // batch_size
    settled = 0.0
    for step in range(1, steps):
        next(batches)
        if step == int(steps * _SETTLED):
            settled = _resident_mib()
    ended, resident = time.perf_counter(), _resident_mib()
    close()
    tokens = (steps - 1) * batch_size * sequence_length
    gigabytes = steps * batch_size * sequence_length * 2 / 1e9
    reading = Reading(
        first_batch_seconds=first - begun,
        tokens_per_second=tokens / (ended - first),
        cpu_seconds_per_gb=(_cpu_seconds() - cpu_before) / gigabytes,
        memory_growth_mib=resident - settled,
    )
    sys.stdout.write(json.dumps(asdict(reading)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # threads and processes that a loader left behind must not hold the benchmark up


def _cpu_seconds() -> float:
    """Children count once they have ended."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in of)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
