"""The training loop: steps, and between them checkpoints, evaluations, and what the surroundings ask for.

It is the same under every launcher. What a step computes is `trainer`, what is done after it `decisions`, how
the end is told `ending`.
"""

from contextlib import nullcontext
from dataclasses import replace
from math import isfinite
from typing import Literal

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.long_conversations import long_conversations
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.train.admission import problems_of
from deepseek_workloads.train.assessment import assess
from deepseek_workloads.train.batch_size import find_micro_batch_size
from deepseek_workloads.train.context import Preempted, TrainContext
from deepseek_workloads.train.curriculum import sequence_length
from deepseek_workloads.train.custom.run import train_custom
from deepseek_workloads.train.decisions import CheckpointReason, Decision, End, Votes, decide
from deepseek_workloads.train.ending import complete, numeric_failure, stopped, stopped_by_alert
from deepseek_workloads.train.keeping import CheckpointKeeper
from deepseek_workloads.train.reporting import Reporter, reporting
from deepseek_workloads.train.requests import Requests
from deepseek_workloads.train.schedule import learning_rate
from deepseek_workloads.train.setup import Setup, set_up
from deepseek_workloads.train.step_figures import checkpoint_figures
from deepseek_workloads.train.stopwatch import Stopwatch
from deepseek_workloads.train.trainer import StepResult, Trainer
from deepseek_workloads.train.watch.hardware import GpuMeter, utilisation_of
from deepseek_workloads.train.watch.profiler import StepProfiler

_MEMORY, _CHECKPOINT = 3, 4  # places of these votes among a step's flags


def train(run: TrainingRun, context: TrainContext) -> Verdict:
    """On every rank of the group; all return the same verdict.

    Raises Preempted after the checkpoint of a group that must end, Fenced when a newer epoch has begun,
    DatasetError and StoreErrors; what was committed stays.
    """
    problems = problems_of(run, context.open_store)
    if problems:
        return Verdict(
            outcome="Failed",
            reason=reasons.INVALID_RUN_CONFIG,
            message=str(problems[0]),
            exit_code=ExitCode.BAD_INPUT,
        )
    watch = Stopwatch()
    if run.training.entrypoint is not None:
        return train_custom(run, context, watch)
    with watch.part("startup"):
        setup = set_up(run, context)
    utilisation = utilisation_of(run, setup.group.device, world_size=setup.group.world_size)
    with reporting(setup, context, watch, utilisation=utilisation) as reporter:
        if reporter is not None:
            for found in long_conversations(setup.data.plan):
                reporter.long_conversations(found)
            for warning in setup.warnings:
                reporter.warn(warning)
        return TrainingLoop(setup, context, reporter, watch).run()


def _profiler(setup: Setup, reporter: Reporter) -> StepProfiler | None:
    wanted = setup.run.monitoring.profile
    if wanted is None:
        return None
    device = setup.group.device.type
    return StepProfiler(wanted, setup.store, epoch=setup.epoch.number, device_type=device, warn=reporter.warn)


class TrainingLoop:
    """Of one rank. `reporter` is rank 0's."""

    def __init__(
        self, setup: Setup, context: TrainContext, reporter: Reporter | None, watch: Stopwatch
    ) -> None:
        training = setup.run.training
        self._trainer = Trainer(
            setup.model,
            setup.optimizer,
            setup.group,
            samples_per_step=training.global_batch_size // setup.model.layout.data,
            clip_norm=training.gradient_clip_norm,
            seed=setup.run.data.seed,
            loss_scale=setup.loss_scale,
            distillation=setup.distillation,
            pruning=setup.pruning,
            anchor=setup.anchor,
            idle_experts=setup.idle_experts,
        )
        self._micro_batch_size = setup.micro_batch_size
        if training.find_micro_batch_size and setup.loaded.position.step < training.steps:
            with watch.part("startup"):
                found = find_micro_batch_size(setup, self._trainer)
            self._micro_batch_size = found.sequences
            if reporter is not None:
                reporter.found_micro_batch_size(found)
            # Evaluations may take as many as were planned, where these are fewer.
            setup = replace(setup, micro_batch_size=min(setup.micro_batch_size, self._micro_batch_size))
        self._setup, self._context, self._reporter, self._watch = setup, context, reporter, watch
        self._position = setup.loaded.position
        self._keeper = CheckpointKeeper(
            setup,
            setup.model.module,
            setup.optimizer,
            reporter,
            watch,
            retention=lambda: context.monitor.control.retention,
            parts=setup.parts,
        )
        self._requests = Requests(context)
        self._metrics: dict[str, float] = {}
        self._read_latency: float | None = None  # of what was read during the newest step
        self._tokens = 0  # of the newest step
        self._guard = setup.guard
        self._meter = GpuMeter(setup.group.device)
        self._profiler = _profiler(setup, reporter) if reporter is not None else None

    def run(self) -> Verdict:
        with self._keeper.begun(self._setup.loaded):
            end = self._steps()
            if self._profiler is not None:
                self._profiler.close()
        if isinstance(end, Verdict):
            return end
        if end == "preempted":
            raise Preempted(
                f"a pod of the group is drained; checkpoint of step {self._position.step} is written"
            )
        if end == "stopped":
            return stopped(self._setup, self._position, self._keeper.entry)
        assert self._keeper.entry is not None
        return complete(self._setup, self._position, self._keeper.entry, self._reporter, self._watch)

    def _steps(self) -> End | Verdict:
        """Until the run must end, or a step's numbers are a verdict already."""
        if self._position.step >= self._setup.run.training.steps:
            return "completed"
        while True:
            with self._stream() as stream:
                end = self._steps_of(stream)
            if end != "rolled back":
                return end

    def _steps_of(self, stream: BatchStream) -> End | Verdict | Literal["rolled back"]:
        """Until the run must end, or must read on from elsewhere."""
        while True:
            result, rate = self._step(stream)
            if result.votes[_CHECKPOINT]:
                self._keeper.settle()
            action = self._guard.action(result)
            if action == "stop":
                return self._stop_for_alert()
            if action == "rollback" and self._roll_back():
                return "rolled back"
            self._advance(result, rate)
            decision = self._decide(result)
            self._act(decision)
            if decision.end is not None:
                return decision.end

    def _stream(self) -> BatchStream:
        setup, layout = self._setup, self._setup.model.layout
        return setup.stream(
            self._position,
            rank=layout.data_rank(setup.group.rank),
            world_size=layout.data,
            micro_batch_size=self._micro_batch_size,
            top_k=setup.top_k,
        )

    def _step(self, stream: BatchStream) -> tuple[StepResult, float]:
        training = self._setup.run.training
        step = self._position.step + 1
        rate = learning_rate(
            training.schedule,
            peak=training.optimizer.learning_rate,
            step=step,
            total_steps=training.steps,
        )
        profiled = self._profiler.step(step) if self._profiler is not None else nullcontext()
        with profiled, self._watch.step(lambda: self._tokens):
            with self._watch.part("data"):
                batches = stream.next_step()
                self._tokens = batches[0].step_tokens
                self._read_latency = stream.read_latency.take()
            with self._watch.part("train"):
                result = self._trainer.step(
                    step,
                    batches,
                    learning_rate=rate,
                    flags=(*self._requests.flags(), self._guard.short_of_memory(), self._keeper.failed),
                    leading=self._guard.numbers(),
                    accept=lambda result: self._guard.accept(
                        result, ranks_short_of_memory=result.votes[_MEMORY]
                    ),
                    sequence_length=sequence_length(training.curriculum, step=step),
                    watch_activations=_is_due(step, self._setup.run.monitoring.activation_range_every_steps),
                )
        return result, rate

    def _stop_for_alert(self) -> Verdict:
        self._tell_alerts(self._position.step + 1)
        self._keeper.settle()
        worst = self._guard.alerts[-1]
        if worst.kind == "NotANumber":
            given_up = self._guard.given_up
            message = f"{worst.message}, {given_up}" if given_up else worst.message
            return numeric_failure(self._setup, self._position, self._keeper.entry, message)
        message = f"{worst.message}, {self._guard.reason_to_stop}"
        return stopped_by_alert(self._setup, self._position, self._keeper.entry, message)

    def _roll_back(self) -> bool:
        """Back to the weights of an earlier checkpoint, and on with the data after this batch: what was read
        since is not read again. At once a checkpoint, so that no later epoch begins from the weights that
        were given up. False: there is no checkpoint to go back to, the step is only not taken. A collective.
        """
        setup, step = self._setup, self._position.step + 1
        wanted = self._guard.rules.rollback_checkpoints
        with self._watch.part("rollback"):
            back = self._keeper.go_back(wanted)
        if back is None:
            self._warn(f"step {step}: no checkpoint to roll back to: its update is not taken")
            return False
        self._tell_alerts(step)
        samples = self._position.consumed_samples + setup.run.training.global_batch_size
        self._position = replace(back.loaded.position, consumed_samples=samples)
        self._guard.rolled_back()
        self._warn(
            f"step {step}: rolled back to the checkpoint of step {self._position.step}"
            f"{back.short_of(wanted)}; the batches since then are left out"
        )
        self._checkpoint("rollback", durable=True)
        return True

    def _checkpoint(self, reason: CheckpointReason, *, durable: bool) -> None:
        self._keeper.save(self._position, self._metrics, reason, durable=durable)
        self._requests.checkpoint_written()

    def _tell_alerts(self, step: int) -> None:
        if self._reporter is not None:
            self._reporter.alerts(self._guard.recent(step), step=step)

    def _warn(self, message: str) -> None:
        if self._reporter is not None:
            self._reporter.warn(message)

    def _advance(self, result: StepResult, rate: float) -> None:
        run = self._setup.run
        self._position = self._position.after_step(
            samples=run.training.global_batch_size, tokens=self._tokens
        )
        self._metrics = checkpoint_figures(result, rate, self._watch.tokens_per_second)
        self._context.monitor.heartbeat(self._position.step)
        self._tell_alerts(self._position.step)
        self._keeper.tell()
        if self._reporter is not None:
            stores = (self._setup.store, *self._setup.data.stores)
            figures = {
                "storeRetries": float(sum(store.retries for store in stores)),
                "storeHedges": float(sum(store.hedges for store in stores)),
                **self._meter.figures(),
            }
            if self._read_latency is not None:
                figures["readLatencySeconds"] = self._read_latency
            self._reporter.step(self._position, result, learning_rate=rate, more=figures)
            if _is_due(self._position.step, run.monitoring.histograms_every_steps):
                self._reporter.histograms(self._setup.model.plain, step=self._position.step)

    def _decide(self, result: StepResult) -> Decision:
        stop, draining, asked, *_ = (votes > 0 for votes in result.votes)
        run = self._setup.run
        return decide(
            step=self._position.step,
            total_steps=run.training.steps,
            votes=Votes(stop=stop, draining=draining, checkpoint=asked),
            checkpoint_every=run.checkpoint.every_steps,
            evaluate_every=run.evaluation.every_steps,
        )

    def _act(self, decision: Decision) -> None:
        if decision.evaluate:  # first: a checkpoint may be kept for its figures
            figures = assess(self._setup, self._position, self._reporter, self._watch)
            self._metrics |= {name: value for name, value in figures.items() if isfinite(value)}
        if decision.checkpoint is not None:
            self._checkpoint(decision.checkpoint, durable=decision.end is not None)


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
