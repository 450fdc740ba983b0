"""`make bench-start`: where the time goes from `kubectl apply` of a job to the first step of its ranks."""

import argparse
import statistics
import time

from harness.platform import Platform
from platform_under_test import endless, fresh_name, job_records, platform, prepare_dataset
from report import Point, emit, say
from timeline import start_parts

RUNS = 5
# On 2 cores with images whose bytecode is compiled: 14 s for the same pods without an operator, 3 s for ours.
GOAL_SECONDS = 17.0
DEADLINE_SECONDS = 300.0
POLL_SECONDS = 0.5


def measure(found: Platform, dataset: str, number: int) -> dict[str, float]:
    name = fresh_name(f"start-{number}")
    applied = time.time()
    found.apply_job(name, dataset, endless())
    try:
        return _wait_for_parts(found, name, applied)
    finally:
        found.kubectl.delete("dsjob", name, "--wait=true")


def _wait_for_parts(found: Platform, name: str, applied: float) -> dict[str, float]:
    while True:
        coordinator = job_records(found, name, role="coordinator")
        workers = job_records(found, name, role="worker")
        try:
            return start_parts(applied, coordinator, workers)
        except LookupError as missing:
            if time.time() - applied > DEADLINE_SECONDS:
                raise TimeoutError(f"{name} made no step in {DEADLINE_SECONDS:.0f} s: {missing}") from missing
        time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    with platform() as found:
        dataset = prepare_dataset(found)
        measured = []
        for number in range(runs):
            measured.append(measure(found, dataset, number))
            say(f"run {number + 1} of {runs}: {measured[-1]['apply to first step']:.1f} s")
    for part in measured[0]:
        goal = GOAL_SECONDS if part == "apply to first step" else None
        emit(Point("start", part, [parts[part] for parts in measured], unit="s", goal=goal))
    say(f"median {statistics.median(parts['apply to first step'] for parts in measured):.1f} s")


if __name__ == "__main__":
    main()
