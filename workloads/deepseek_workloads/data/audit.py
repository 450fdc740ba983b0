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
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.contract.run_file import UnusableRunConfig, read_run
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.run_audit import audit_run
from deepseek_workloads.data.samples import Numbers, Samples
from deepseek_workloads.data.source_windows import SourceWindows
from deepseek_workloads.store.interface import StoreError
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
    missing: int  # windows that did not come in an epoch that was gone through, nor were skipped
    unasked: int  # that came though they are above the difficulty of their stage

    @property
    def in_order(self) -> bool:
        return self.repeated == 0 and self.missing == 0 and self.unasked == 0


@dataclass
class _Seen:
    """Of one source, while its order is gone through."""

    of_source: SourceWindows
    counts: Numbers  # of the epoch, a window each
    epoch: int = 0
    taken: int = 0
    repeated: int = 0
    missing: int = 0
    unasked: int = 0

    def add(self, windows: Numbers, *, epoch: int, taken: bool) -> None:
        """Not `taken`: of places that `data.skip` leaves out, which are no windows that did not come."""
        if epoch != self.epoch:
            left = self.of_source.whole(self.epoch) & (self.counts == 0)
            self.missing += int(left.sum())
            self.counts[:] = 0
            self.epoch = epoch
        np.add.at(self.counts, windows, 1)
        self.repeated += int((self.counts[np.unique(windows)] > 1).sum())
        if taken:
            self.taken += len(windows)
            self.unasked += int((~self.of_source.allowed(epoch)[windows]).sum())


def audit_order(plan: SamplePlan, *, samples: int) -> list[SourceAudit]:
    """A number a window: memory grows with the dataset, not with the run."""
    seen = [_Seen(source, counts=np.zeros(source.order.windows, dtype=np.int64)) for source in plan.sources]
    for found, taken in _gone_through(plan, samples=samples):
        for source in np.unique(found.source).tolist():
            of_source = found.source == source
            for epoch in np.unique(found.epoch[of_source]).tolist():
                windows = found.window[of_source & (found.epoch == epoch)]
                seen[source].add(windows, epoch=epoch, taken=taken)
    return [
        SourceAudit(
            source=source.name,
            windows=found.of_source.order.windows,
            samples=found.taken,
            epochs=round(found.of_source.epochs_of(found.taken), 4),
            repeated=found.repeated,
            missing=found.missing,
            unasked=found.unasked,
        )
        for source, found in zip(plan.data.sources, seen, strict=True)
    ]


def padding_share(plan: SamplePlan, *, samples: int) -> float | None:
    """Of the tokens that a run computes; None where nothing is padded batch by batch."""
    if plan.bucketed is None:
        return None
    tokens = computed = 0
    for first in range(0, samples, plan.bucketed):
        of_step = plan.locate_many(np.arange(first, first + plan.bucketed))
        tokens += plan.tokens_of(of_step)
        computed += len(of_step) * plan.row_length(of_step)
    return 1 - tokens / computed


def _gone_through(plan: SamplePlan, *, samples: int) -> Iterator[tuple[Samples, bool]]:
    """The order up to the last of the samples, piece by piece, and whether a piece is taken or left out."""
    sample = place = 0
    for skipped in plan.data.skip or ():
        stop = min(samples, sample + skipped.from_sample - place)
        for piece in _pieces(sample, stop):
            yield plan.locate_many(piece), True
        if stop == samples:
            return
        for piece in _pieces(skipped.from_sample, skipped.to_sample):
            yield plan.at_places(piece), False
        sample, place = stop, skipped.to_sample
    for piece in _pieces(sample, samples):
        yield plan.locate_many(piece), True


def _pieces(start: int, stop: int) -> Iterator[Numbers]:
    for first in range(start, stop, _TOGETHER):
        yield np.arange(first, min(first + _TOGETHER, stop))


def _lines(run: TrainingRun, *, samples: int | None) -> Iterator[tuple[bool | None, dict[str, Any]]]:
    """Whether all is in order, None where nothing shows it, and what was found."""
    with ExitStack() as opened:
        stores = [opened.enter_context(closing(open_store(source.storage))) for source in run.data.sources]
        manifests = [
            load_manifest(store, source.digest)
            for store, source in zip(stores, run.data.sources, strict=True)
        ]
        plan = sample_plan(run, manifests, stores)
    batch = run.training.global_batch_size
    asked = samples or run.training.steps * batch
    for of_source in audit_order(plan, samples=asked):
        yield of_source.in_order, asdict(of_source)
    padding = padding_share(plan, samples=asked)
    if padding is not None:
        yield True, {"padding": round(padding, 4)}
    if run.training.entrypoint is not None:
        said = "training.entrypoint: a loop of the user's own logs no sample ids"
        yield None, {"steps": 0, "first": [said]}
        return
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
    try:
        run = read_run(asked.run_config)
    except UnusableRunConfig as error:
        print(error, file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    if not isinstance(run, TrainingRun):
        parser.error(f"--run-config {asked.run_config}: is of a {run.kind}, only training has an order")
    in_order = True
    try:
        for fine, line in _lines(run, samples=asked.samples):
            in_order = in_order and bool(fine)
            print(json.dumps({"inOrder": fine, **line}))
    except (StoreError, DatasetError) as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        again = isinstance(error, StoreError) and error.transient
        return int(ExitCode.TRY_AGAIN if again else ExitCode.BAD_INPUT)
    return int(ExitCode.DONE) if in_order else _NOT_IN_ORDER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
