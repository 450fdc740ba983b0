"""The training loop: steps, and between them checkpoints, evaluations, and what the surroundings ask for.

It is the same under every launcher. What a step computes is `trainer`, what is done after it `decisions`, how
the end is told `ending`.
"""

import threading
import time
from collections.abc import Iterator
from math import isfinite

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.stream import Batch, BatchStream
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.train import checkpoint, retention
from deepseek_workloads.train.assessment import assess
from deepseek_workloads.train.checkpoint import Position
from deepseek_workloads.train.context import Preempted, TrainContext
from deepseek_workloads.train.decisions import CheckpointReason, Decision, End, Votes, decide
from deepseek_workloads.train.ending import complete, numeric_failure, stopped
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.schedule import learning_rate
from deepseek_workloads.train.setup import Setup, set_up
from deepseek_workloads.train.stopwatch import Stopwatch
from deepseek_workloads.train.trainer import StepResult, Trainer


def train(run: TrainingRun, context: TrainContext) -> Verdict:
    """On every rank of the group; all return the same verdict.

    Raises Preempted after the checkpoint of a group that must end, Fenced when a newer epoch has begun,
    DatasetError and StoreErrors; what was committed stays.
    """
    problems = check_training(run)
    if problems:
        return Verdict(
            outcome="Failed",
            reason=reasons.INVALID_RUN_CONFIG,
            message=str(problems[0]),
            exit_code=ExitCode.BAD_INPUT,
        )
    watch = Stopwatch()
    with watch.part("startup"):
        setup = set_up(run, context)
    reporter = _reporter(setup, context, watch)
    try:
        return TrainingLoop(setup, context, reporter, watch).run()
    finally:
        if reporter is not None:
            reporter.close()


def _reporter(setup: Setup, context: TrainContext, watch: Stopwatch) -> Reporter | None:
    if context.rank != 0:
        return None
    return Reporter(
        context.monitor,
        setup.store,
        watch,
        epoch=setup.epoch.number,
        total_steps=setup.run.training.steps,
        data_path=setup.group.data_path,
    )


class TrainingLoop:
    """Of one rank. `reporter` is rank 0's."""

    def __init__(
        self, setup: Setup, context: TrainContext, reporter: Reporter | None, watch: Stopwatch
    ) -> None:
        self._setup, self._context, self._reporter, self._watch = setup, context, reporter, watch
        self._position = setup.loaded.position
        self._entry = setup.loaded.entry
        self._damaged = set(setup.loaded.damaged)
        self._request = self._requests_done = 0  # of Control.checkpoint_request
        self._metrics: dict[str, float] = {}
        training = setup.run.training
        self._trainer = Trainer(
            setup.model,
            setup.optimizer,
            setup.group,
            samples_per_step=training.global_batch_size // setup.model.layout.data,
            clip_norm=training.gradient_clip_norm,
            seed=setup.run.data.seed,
            loss_scale=setup.loss_scale,
        )

    def run(self) -> Verdict:
        self._report_start()
        self._retire(damaged_too=False)  # what an epoch before was about to
        cleaner = self._remove_orphans()
        end = self._steps()
        cleaner.join()
        if isinstance(end, Verdict):
            return end
        if end == "preempted":
            raise Preempted(
                f"a pod of the group is drained; checkpoint of step {self._position.step} is written"
            )
        if end == "stopped":
            return stopped(self._setup, self._position, self._entry)
        assert self._entry is not None
        return complete(self._setup, self._position, self._entry, self._reporter, self._watch)

    def _steps(self) -> End | Verdict:
        """Until the run must end, or a step's numbers are a verdict already."""
        if self._position.step >= self._setup.run.training.steps:
            return "completed"
        with self._stream() as stream:
            while True:
                result, rate = self._step(stream)
                if not result.finite and not result.overflow:
                    return numeric_failure(self._setup, self._position, self._entry, result)
                self._advance(result, rate)
                decision = self._decide(result)
                self._act(decision)
                if decision.end is not None:
                    return decision.end

    def _stream(self) -> BatchStream:
        setup, training = self._setup, self._setup.run.training
        start = self._position.consumed_samples
        return BatchStream(
            setup.data.plan,
            setup.data.stores,
            rank=setup.model.layout.data_rank(setup.group.rank),
            world_size=setup.model.layout.data,
            global_batch_size=training.global_batch_size,
            micro_batch_size=setup.micro_batch_size,
            start_sample=start,
            end_sample=start + (training.steps - self._position.step) * training.global_batch_size,
        )

    def _step(self, stream: Iterator[Batch]) -> tuple[StepResult, float]:
        training = self._setup.run.training
        step = self._position.step + 1
        rate = learning_rate(
            training.schedule,
            peak=training.optimizer.learning_rate,
            step=step,
            total_steps=training.steps,
        )
        with self._watch.step(training.global_batch_size * self._setup.run.data.sequence_length):
            with self._watch.part("data"):
                batches = _next_step(stream)
            with self._watch.part("train"):
                result = self._trainer.step(step, batches, learning_rate=rate, flags=self._flags())
        return result, rate

    def _flags(self) -> tuple[bool, bool, bool]:
        """Rank 0 alone asks for checkpoints: ranks hear of one request at different steps."""
        control = self._context.monitor.control
        self._request = control.checkpoint_request
        return (
            control.desired_state == "Stopped",
            self._context.draining(),
            self._context.rank == 0 and self._request > self._requests_done,
        )

    def _advance(self, result: StepResult, rate: float) -> None:
        samples = self._setup.run.training.global_batch_size
        self._position = Position(
            step=self._position.step + 1,
            consumed_samples=self._position.consumed_samples + samples,
            tokens=self._position.tokens + samples * self._setup.run.data.sequence_length,
        )
        self._metrics = _figures(result, rate, self._watch.tokens_per_second)
        self._context.monitor.heartbeat(self._position.step)
        if self._reporter is not None:
            retries = self._setup.store.retries
            self._reporter.step(self._position, result, learning_rate=rate, store_retries=retries)

    def _decide(self, result: StepResult) -> Decision:
        stop, draining, asked = (votes > 0 for votes in result.votes)
        run = self._setup.run
        return decide(
            step=self._position.step,
            total_steps=run.training.steps,
            votes=Votes(stop=stop, draining=draining, checkpoint=asked),
            checkpoint_every=run.checkpoint.every_steps,
            evaluate_every=run.evaluation.every_steps,
        )

    def _act(self, decision: Decision) -> None:
        if decision.checkpoint is not None:
            self._checkpoint(decision.checkpoint)
        if decision.evaluate:
            assess(self._setup, self._position, self._reporter, self._watch)

    def _checkpoint(self, reason: CheckpointReason) -> None:
        setup, begun = self._setup, time.monotonic()
        flushed = self._reporter.begin_flush() if self._reporter is not None else _nothing
        with self._watch.part("checkpoint"):
            entry = checkpoint.save(
                setup.store,
                setup.group,
                writer=setup.writer,
                epoch=setup.epoch.number,
                model=setup.model.module,
                optimizer=setup.optimizer,
                position=self._position,
                identity=setup.identity,
                metrics=self._metrics,
                reason=reason,
                parts=setup.parts,
                before_commit=flushed,  # what a later epoch takes for done can be looked up
            )
        self._requests_done = self._request
        self._entry = entry
        if setup.writer is not None and self._reporter is not None:
            self._retire(damaged_too=True)
            live = live_checkpoints(setup.writer.entries)
            self._reporter.checkpoint(entry, live, seconds=time.monotonic() - begun)

    def _retire(self, *, damaged_too: bool) -> None:
        """Damaged ones stay until there is a newer one: someone may want to repair them."""
        setup = self._setup
        if setup.writer is None or self._reporter is None:
            return
        surplus = retention.to_retire(
            live_checkpoints(setup.writer.entries),
            keep_last=setup.run.checkpoint.keep_last,
            damaged=self._damaged,
        )
        if not damaged_too:
            surplus = [entry for entry in surplus if entry.index not in self._damaged]
        try:
            retention.retire(setup.store, setup.writer, surplus)
        except StoreError as error:  # its files are removed by the next epoch
            self._reporter.warn(f"old checkpoints were not deleted: {error}")

    def _report_start(self) -> None:
        if self._reporter is None:
            return
        live = live_checkpoints(self._setup.epoch.entries)
        for warning in self._setup.loaded.warnings:
            self._reporter.warn(warning)
        self._reporter.resumed(self._position, [entry for entry in live if entry.index not in self._damaged])

    def _remove_orphans(self) -> threading.Thread:
        """In the background: a listing of the store must not delay the first step."""
        setup, reporter = self._setup, self._reporter

        def remove() -> None:
            if setup.writer is None or reporter is None:
                return
            try:
                retention.remove_orphans(setup.store, epoch=setup.epoch.number, entries=setup.epoch.entries)
            except StoreError as error:
                reporter.warn(f"files of interrupted checkpoints were not deleted: {error}")

        thread = threading.Thread(target=remove, name="orphans", daemon=True)
        thread.start()
        return thread


def _next_step(stream: Iterator[Batch]) -> list[Batch]:
    """The rank's micro-batches of one global batch."""
    batches = [next(stream)]
    while not batches[-1].last_of_step:
        batches.append(next(stream))
    return batches


def _nothing() -> None:
    pass


def _figures(result: StepResult, rate: float, speed: float | None) -> dict[str, float]:
    """Of a checkpoint's record, which is JSON: it has no infinity, as gradients of an overflow have."""
    figures = {
        "loss": result.loss,
        "gradient_norm": result.gradient_norm,
        "learning_rate": rate,
        "tokens_per_second": speed,
    }
    return {name: value for name, value in figures.items() if value is not None and isfinite(value)}
