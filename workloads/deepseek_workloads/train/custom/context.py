"""What a user's training function gets: its share of the data, checkpoints, progress, and word of its end.

It does not know the model: that and the optimizer are the user's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.stream import Batch, BatchStream
from deepseek_workloads.plan.estimate import choose_micro_batch_size
from deepseek_workloads.train.checkpoint import Position
from deepseek_workloads.train.context import Preempted, TrainContext
from deepseek_workloads.train.decisions import Votes, decide
from deepseek_workloads.train.keeping import CheckpointKeeper
from deepseek_workloads.train.opened import Opened
from deepseek_workloads.train.refused import SettingRefused
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.requests import Requests
from deepseek_workloads.train.stopwatch import Stopwatch


class StopRequested(Exception):
    """The run is to stop, and its checkpoint is written. Do not catch it."""


class NotFinite(Exception):
    """A figure that was reported is no finite number: nothing after the last checkpoint is kept."""


class NoSteps(SettingRefused):
    """The function returned before its last step."""


class NoNumber(SettingRefused):
    """What was reported of a step is no number."""


@dataclass
class StepContext:
    """One step. `batches` are this rank's micro-batches of the global batch, on the CPU."""

    number: int  # from 1
    batches: list[Batch]
    figures: dict[str, float] = field(default_factory=dict)

    def report(self, **figures: float | Tensor) -> None:
        """Of the step that is being taken: names and values for metrics, TensorBoard and, `loss` and
        `learning_rate`, the job's status. Tensors of one number are read, which waits for the device. Rank
        0's count. Raises NoNumber."""
        self.figures |= {name: _number(name, value) for name, value in figures.items()}


class RunContext:
    """Of one rank. With several ranks torch.distributed is initialised (gloo on CPUs, NCCL on GPUs)."""

    def __init__(
        self, opened: Opened, context: TrainContext, reporter: Reporter | None, watch: Stopwatch
    ) -> None:
        self._opened, self._context, self._reporter, self._watch = opened, context, reporter, watch
        self._keeper: CheckpointKeeper | None = None
        self._requests = Requests(context)
        self.position = Position()

    @property
    def run(self) -> TrainingRun:
        """The run config: sequence length, steps, batch size and all the spec says."""
        return self._opened.run

    @property
    def rank(self) -> int:
        return self._opened.group.rank

    @property
    def world_size(self) -> int:
        return self._opened.group.world_size

    @property
    def device(self) -> torch.device:
        return self._opened.group.device

    @property
    def vocab_size(self) -> int:
        """Of the data's tokenizer."""
        return self._opened.data.plan.manifests[0].vocab_size

    @property
    def epoch(self) -> int:
        """Grows with each start of the group."""
        return self._opened.epoch.number

    def tokenizer_document(self) -> bytes:
        """tokenizer.json of the data."""
        return self._opened.data.tokenizer_document()

    @property
    def keeper(self) -> CheckpointKeeper | None:
        """None before `steps` was called."""
        return self._keeper

    def steps(self, model: nn.Module, optimizer: Optimizer) -> Iterator[StepContext]:
        """The steps that are left, to be taken in the body of a `for`; every rank iterates.

        First `model` and `optimizer` get the state of the newest intact checkpoint, if there is one. After
        each body comes what is due: a checkpoint by spec.checkpoint, at the end, on preemption or when the
        run is to stop. The last two end the loop by an exception that the function lets pass.
        """
        opened = self._opened
        self._keeper = CheckpointKeeper(
            opened,
            model,
            optimizer,
            self._reporter,
            self._watch,
            retention=lambda: self._context.monitor.control.retention,
        )
        loaded = self._keeper.load()
        self.position = loaded.position
        with self._keeper.begun(loaded):
            if self.position.step < self.run.training.steps:
                with self._stream() as stream:
                    yield from self._taken(stream)

    def _stream(self) -> BatchStream:
        return self._opened.stream(
            self.position,
            rank=self.rank,
            world_size=self.world_size,
            micro_batch_size=choose_micro_batch_size(self.run),
        )

    def _taken(self, stream: BatchStream) -> Iterator[StepContext]:
        training, tokens = self.run.training, self.run.data.sequence_length
        while self.position.step < training.steps:
            with self._watch.step(lambda: training.global_batch_size * tokens):
                with self._watch.part("data"):
                    step = StepContext(self.position.step + 1, stream.next_step())
                with self._watch.part("train"):
                    yield step
            self._context.monitor.heartbeat(step.number)
            votes = self._votes(step)
            self._advance(step.figures)
            self._act(step.figures, votes)

    def _advance(self, figures: Mapping[str, float]) -> None:
        samples = self.run.training.global_batch_size
        self.position = self.position.after_step(
            samples=samples, tokens=samples * self.run.data.sequence_length
        )
        if self._keeper is not None:
            self._keeper.tell()
        if self._reporter is not None:
            self._reporter.custom_step(self.position, figures)

    def _act(self, figures: Mapping[str, float], votes: Votes) -> None:
        assert self._keeper is not None
        run = self.run
        decision = decide(
            step=self.position.step,
            total_steps=run.training.steps,
            votes=votes,
            checkpoint_every=run.checkpoint.every_steps,
            evaluate_every=None,
        )
        if decision.checkpoint is not None:
            durable = decision.end is not None
            self._keeper.save(self.position, dict(figures), decision.checkpoint, durable=durable)
            self._requests.checkpoint_written()
        if decision.end == "preempted":
            raise Preempted(
                f"a pod of the group is drained; checkpoint of step {self.position.step} is written"
            )
        if decision.end == "stopped":
            raise StopRequested

    def _votes(self, step: StepContext) -> Votes:
        """A collective. Raises NotFinite, on all ranks where one has reported such a figure."""
        assert self._keeper is not None
        flags = [*self._requests.flags(), bool(bad := _not_finite(step.figures)), self._keeper.failed]
        raised = torch.tensor([float(flag) for flag in flags], dtype=torch.float64, device=self.device)
        stop, draining, asked, lost, failed = (votes > 0 for votes in self._opened.group.sum(raised).tolist())
        if lost or failed:
            self._keeper.settle()
        if lost:
            raise NotFinite(f"step {step.number}: {bad or 'figures of another rank'}: must be finite")
        return Votes(stop=stop, draining=draining, checkpoint=asked)


def _number(name: str, value: float | Tensor) -> float:
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NoNumber(
            f"spec.training.entrypoint: report({name}=...): {value!r}: must be one number: report a float "
            "or a tensor of one element"
        ) from error


def _not_finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not isfinite(value)}
