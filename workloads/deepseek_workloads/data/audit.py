"""Does a run take every sample once an epoch, and did it take those that it should have?

    python -m deepseek_workloads.data.audit [--run-config run-config.json] [--samples 100000]

First the order by itself: the samples of the run are located, and in every epoch of every source each window
must come exactly once; with a curriculum by difficulty, each that its stage takes, and no other. Then what
the run has logged (`runs/<epoch>/`, sample ids of each step) is held against the order; of steps that were
repeated after a failure the last time counts. Prints JSON lines. Exits with 0 when all is in order, 1 when
not, 3 when the run config or the dataset cannot be used. It only reads.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import TrainingRun, parse_run
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.sample_log import logged_samples
from deepseek_workloads.store.interface import ObjectStore, StoreError
from deepseek_workloads.store.open import open_store

_TOGETHER: Final = 65536  # samples that are located at a time
_NOT_IN_ORDER: Final = 1
_FIRST: Final = 5  # deviations that are told one by one


@dataclass(frozen=True)
class SourceAudit:
    """Of the epochs that the samples reach; the last one may be cut. With a curriculum by difficulty each
    stage has epochs of its own, of the windows that it takes."""

    source: str
    windows: int  # of an epoch
    samples: int
    epochs: float
    repeated: int  # windows that came more than once in one epoch
    missing: int  # windows that did not come in an epoch that was gone through; skipped ones are not
    unasked: int  # that came though they are above the difficulty of their stage

    @property
    def in_order(self) -> bool:
        return self.repeated == 0 and self.missing == 0 and self.unasked == 0


@dataclass(frozen=True)
class RunAudit:
    """Of the steps that the run has logged."""

    steps: int
    repeated_steps: int  # trained again after a failure
    deviating: tuple[str, ...]  # what is not as the order says

    @property
    def in_order(self) -> bool:
        return not self.deviating


def audit_order(plan: SamplePlan, *, samples: int) -> list[SourceAudit]:
    """A bit a window and epoch: memory grows with the dataset, not with the run."""
    seen = [np.zeros(source.order.windows, dtype=np.int64) for source in plan.sources]
    epoch = [0] * len(seen)
    taken, repeated, missing, unasked = ([0] * len(seen) for _ in range(4))
    skips = bool(plan.data.skip)
    for first in range(0, samples, _TOGETHER):
        found = plan.locate_many(np.arange(first, min(first + _TOGETHER, samples)))
        for source in np.unique(found.source).tolist():
            of_source = found.source == source
            for number in np.unique(found.epoch[of_source]).tolist():
                if number != epoch[source]:
                    left = plan.sources[source].whole(epoch[source]) & (seen[source] == 0)
                    missing[source] += 0 if skips else int(left.sum())
                    seen[source][:] = 0
                    epoch[source] = number
                windows = found.window[of_source & (found.epoch == number)]
                np.add.at(seen[source], windows, 1)
                repeated[source] += int((seen[source][np.unique(windows)] > 1).sum())
                unasked[source] += int((~plan.sources[source].allowed(number)[windows]).sum())
            taken[source] += int(of_source.sum())
    return [
        SourceAudit(
            source=plan.data.sources[index].name,
            windows=plan.sources[index].order.windows,
            samples=taken[index],
            epochs=round(plan.sources[index].epochs_of(taken[index]), 4),
            repeated=repeated[index],
            missing=missing[index],
            unasked=unasked[index],
        )
        for index in range(len(seen))
    ]


def audit_run(plan: SamplePlan, store: ObjectStore, *, global_batch_size: int) -> RunAudit:
    """Raises the StoreErrors of reading."""
    steps, repeated = logged_samples(store)
    deviating, expected_first = [], None
    for step, logged in sorted(steps.items()):
        first = logged.consumed_samples - global_batch_size
        if expected_first is not None and first < expected_first:
            deviating.append(f"step {step}: begins at sample {first}, which step {step - 1} had taken")
        expected_first = logged.consumed_samples
        ids = plan.locate_many(np.arange(first, logged.consumed_samples)).sample_id.tolist()
        if not logged.are(ids):
            deviating.append(f"step {step}: samples {first} to {logged.consumed_samples} are not the order's")
    return RunAudit(len(steps), repeated, tuple(deviating))


def _lines(run: TrainingRun, *, samples: int | None) -> Iterator[tuple[bool, dict[str, Any]]]:
    with ExitStack() as opened:
        stores = [opened.enter_context(closing(open_store(source.storage))) for source in run.data.sources]
        manifests = [
            load_manifest(store, source.digest)
            for store, source in zip(stores, run.data.sources, strict=True)
        ]
        plan = sample_plan(run, manifests, stores)
    batch = run.training.global_batch_size
    for of_source in audit_order(plan, samples=samples or run.training.steps * batch):
        yield of_source.in_order, asdict(of_source)
    with closing(open_store(run.storage)) as store:
        of_run = audit_run(plan, store, global_batch_size=batch)
    told = {"deviating": len(of_run.deviating), "first": list(of_run.deviating[:_FIRST])}
    yield of_run.in_order, {"steps": of_run.steps, "repeatedSteps": of_run.repeated_steps, **told}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.data.audit")
    default = os.environ.get(environment.RUN_CONFIG_PATH, environment.RUN_CONFIG_FILE)
    parser.add_argument("--run-config", type=Path, default=Path(default))
    parser.add_argument("--samples", type=int, help="of the order; the default is all of the run")
    asked = parser.parse_args(argv)
    run = parse_run(asked.run_config.read_text())
    if not isinstance(run, TrainingRun):
        parser.error(f"--run-config {asked.run_config}: is of a {run.kind}, only training has an order")
    in_order = True
    try:
        for fine, line in _lines(run, samples=asked.samples):
            in_order = in_order and fine
            print(json.dumps({"inOrder": fine, **line}))
    except (StoreError, DatasetError) as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        again = isinstance(error, StoreError) and error.transient
        return int(ExitCode.TRY_AGAIN if again else ExitCode.BAD_INPUT)
    return int(ExitCode.DONE) if in_order else _NOT_IN_ORDER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
