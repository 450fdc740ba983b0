"""What rank 0 tells of a run while it goes: to the coordinator, to the store and to stdout.

For display only; it decides nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from torch import nn

from deepseek_workloads.contract.messages import AlertSummary, CheckpointSummary, Phase, Progress
from deepseek_workloads.data.long_conversations import LongConversations
from deepseek_workloads.data.sample_log import sample_fields
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CheckpointEntry
from deepseek_workloads.train.checkpoint import Position
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.found_batch_size import Found
from deepseek_workloads.train.json_lines import json_line
from deepseek_workloads.train.metrics import MetricsWriter
from deepseek_workloads.train.monitor import Monitor
from deepseek_workloads.train.opened import Opened
from deepseek_workloads.train.step_figures import layer_figures, occasional_figures, step_figures
from deepseek_workloads.train.stopwatch import Stopwatch
from deepseek_workloads.train.trackers.open import open_trackers
from deepseek_workloads.train.trackers.sending import TrackerThread
from deepseek_workloads.train.trainer import StepResult
from deepseek_workloads.train.watch.histograms import histograms

_MAX_CHECKPOINTS = 10  # Progress' limits
_MAX_WARNINGS = 8
_FIGURES = ("loss", "learning_rate", "gradient_norm", "tokens_per_second")  # of a checkpoint's metrics
_LINE_SECONDS = 1.0  # between lines of steps on stdout


@contextmanager
def reporting(
    opened: Opened,
    context: TrainContext,
    watch: Stopwatch,
    *,
    utilisation: Callable[[float], float | None] = lambda _rate: None,
) -> Iterator["Reporter | None"]:
    """Rank 0's, until the block ends; the others have none."""
    if context.rank != 0:
        yield None
        return
    reporter = Reporter(
        context.monitor,
        opened.store,
        watch,
        epoch=opened.epoch.number,
        total_steps=opened.run.training.steps,
        data_path=opened.group.data_path,
        utilisation=utilisation,
        trackers=open_trackers(opened.run),
    )
    with closing(reporter):
        yield reporter


class Reporter:
    def __init__(
        self,
        monitor: Monitor,
        store: ObjectStore,
        watch: Stopwatch,
        *,
        epoch: int,
        total_steps: int,
        data_path: str,
        utilisation: Callable[[float], float | None] = lambda _rate: None,
        trackers: Sequence[TrackerThread] = (),
    ) -> None:
        """`utilisation`: from tokens a second, over all ranks, to a share of the hardware's peak."""
        self._utilisation = utilisation
        self._parts: dict[str, float] = {}  # seconds until the newest step
        self._monitor, self._watch = monitor, watch
        self._metrics, self._trackers = MetricsWriter(store, epoch), trackers
        self._progress = Progress.model_validate(
            {"phase": "Starting", "epoch": epoch, "total_steps": total_steps, "data_path": data_path}
        )
        self._line_at = 0.0
        self._troubled: set[str] = set()  # trackers that have been warned of

    def phase(self, phase: Phase, message: str = "") -> None:
        self._publish(phase=phase, message=message)

    def warn(self, warning: str) -> None:
        self._say("warning", message=warning)
        self._publish(warnings=self._with(warning))

    def found_micro_batch_size(self, found: Found) -> None:
        """Once an epoch; the line of metrics has it beside where the size comes from."""
        size = found.sequences
        self._say("microBatchSize", sequences=size, measured=found.measured)
        self._record(
            {"epoch": self._progress.epoch, "microBatchSize": size, "measured": found.measured},
            step=self._progress.step,
            scalars={"train/microBatchSize": size},
        )
        self._publish(micro_batch_size=size)
        if found.warning is not None:
            self.warn(found.warning)

    def long_conversations(self, found: LongConversations) -> None:
        """What the run does not learn of a source, once an epoch."""
        self.warn(str(found))
        self._record(
            {"epoch": self._progress.epoch, "longConversations": asdict(found)},
            step=self._progress.step,
            scalars={f"data/{found.source}/lostShare": found.lost_share},
        )

    def resumed(self, position: Position, live: Sequence[CheckpointEntry], *, from_memory: int = 0) -> None:
        """`from_memory`: bytes of rank 0 that the pods' memory held."""
        samples = position.consumed_samples
        self._say("resumed", step=position.step, consumedSamples=samples, bytesFromMemory=from_memory)
        at = [entry.record.metrics for entry in live if entry.record.step == position.step]
        figures = {name: at[-1].get(name) for name in _FIGURES} if at else {}
        self._publish(step=position.step, tokens=position.tokens, checkpoints=_summaries(live), **figures)

    def alerts(self, recent: Sequence[AlertSummary], *, step: int) -> None:
        """Those of step `step` are said; `recent` ones are shown, and become a warning when they begin."""
        if not recent and not self._progress.alerts:
            return
        known = {(alert.kind, alert.action) for alert in self._progress.alerts}
        for alert in recent:
            if alert.step != step:
                continue
            self._say("alert", step=step, kind=alert.kind, action=alert.action, message=alert.message)
            if alert.action != "warn" and (alert.kind, alert.action) not in known:
                self._publish(warnings=self._with(f"step {step}: {alert.message}; action {alert.action}"))
        self._publish(alerts=list(recent))

    def _with(self, warning: str) -> list[str]:
        return [*self._progress.warnings, warning][-_MAX_WARNINGS:]

    def step(
        self,
        position: Position,
        result: StepResult,
        *,
        learning_rate: float,
        more: Mapping[str, float],
    ) -> None:
        """`more`: figures by name, of the store and the hardware."""
        figures, layers = step_figures(result, learning_rate), layer_figures(result)
        speed = self._watch.tokens_per_second
        utilisation = self._utilisation(speed) if speed else None
        curves = {
            **figures,
            "tokensPerSecond": speed or 0.0,
            **({"modelFlopsUtilisation": utilisation} if utilisation is not None else {}),
            **occasional_figures(result),
            **more,
            **self._seconds_of_step(),
        }
        self._record(
            {
                "epoch": self._progress.epoch,
                "step": position.step,
                "tokens": position.tokens,
                "consumedSamples": position.consumed_samples,
                **curves,
                "tokensPerSecond": speed,
                "applied": result.applied,
                **layers,
                "time": time.time(),
                **sample_fields(result.sample_ids),
            },
            step=position.step,
            scalars={f"train/{name}": value for name, value in (curves | layers).items()},
        )
        self._show_step(
            position,
            figures,
            loss=result.loss,
            learning_rate=learning_rate,
            gradient_norm=result.gradient_norm,
        )

    def custom_step(self, position: Position, figures: Mapping[str, float]) -> None:
        """Of a user's own loop: `loss` and `learning_rate` are shown, all are kept."""
        speed = self._watch.tokens_per_second
        curves = {**figures, "tokensPerSecond": speed or 0.0, **self._seconds_of_step()}
        place = {"epoch": self._progress.epoch, "step": position.step, "tokens": position.tokens}
        self._record(
            {**place, "consumedSamples": position.consumed_samples, **curves, "time": time.time()},
            step=position.step,
            scalars={f"train/{name}": value for name, value in curves.items()},
        )
        self._show_step(
            position, figures, loss=figures.get("loss"), learning_rate=figures.get("learning_rate")
        )

    def _record(self, line: dict[str, Any], *, step: int, scalars: Mapping[str, float]) -> None:
        """A line of metrics, and its curves."""
        self._metrics.add(line, step=step, scalars=scalars)
        for tracker in self._trackers:
            tracker.add(scalars, step=step)
            if tracker.warning and tracker.name not in self._troubled:
                self.warn(tracker.warning)
            (self._troubled.add if tracker.warning else self._troubled.discard)(tracker.name)

    def _show_step(self, position: Position, figures: Mapping[str, float], **shown: float | None) -> None:
        """`shown` are fields of Progress, `figures` are for stdout, where a line a second is enough."""
        speed, pace = self._watch.tokens_per_second, self._watch.seconds_per_step
        left = self._progress.total_steps - position.step
        self._publish(
            phase="Training",
            message="",
            step=position.step,
            tokens=position.tokens,
            tokens_per_second=speed,
            eta_seconds=None if pace is None else round(pace * left),
            **shown,
        )
        if time.monotonic() - self._line_at >= _LINE_SECONDS or not left:
            self._line_at = time.monotonic()
            self._say("step", step=position.step, **figures, tokensPerSecond=speed)

    def _seconds_of_step(self) -> dict[str, float]:
        """Since the step before: the wait for data, the work, and what stood between the steps."""
        before, self._parts = self._parts, self._watch.seconds
        names = {"data": "dataWaitSeconds", "train": "computeSeconds", "checkpoint": "checkpointStallSeconds"}
        return {
            shown: self._parts.get(name, 0.0) - before.get(name, 0.0)
            for name, shown in names.items()
            if name in self._parts
        }

    def checkpoint(self, entry: CheckpointEntry, live: Sequence[CheckpointEntry], *, seconds: float) -> None:
        summary = _summary(entry)
        self._say(
            "checkpoint",
            step=summary.step,
            logIndex=summary.log_index,
            bytes=summary.size_bytes,
            reason=entry.record.reason,
            seconds=round(seconds, 3),
        )
        self._publish(checkpoints=_summaries(live))

    def evaluation(self, position: Position, figures: dict[str, float], texts: Mapping[str, str]) -> None:
        """`texts`: prompts and how the model continued them."""
        self._say("evaluation", step=position.step, **figures)
        samples = [{"prompt": prompt, "continuation": text} for prompt, text in texts.items()]
        for sample in samples:
            self._say("sample", step=position.step, **sample)
        line = {"epoch": self._progress.epoch, "step": position.step, "evaluation": figures}
        self._record(
            line | ({"samples": samples} if samples else {}),
            step=position.step,
            scalars={f"evaluation/{name}": value for name, value in figures.items()},
        )
        self._publish(evaluation=figures)

    def histograms(self, model: nn.Module, *, step: int) -> None:
        self._metrics.add_histograms(dict(histograms(model)), step=step)

    def begin_flush(self) -> Callable[[], None]:
        return self._metrics.begin_flush()

    def close(self) -> None:
        self._metrics.close()
        for tracker in self._trackers:
            tracker.close(finished=self._progress.step >= self._progress.total_steps)
            if tracker.warning and tracker.name not in self._troubled:
                self._say("warning", message=tracker.warning)
        if self._metrics.warning:
            self._say("warning", message=self._metrics.warning)

    def _publish(self, **changes: object) -> None:
        goodput = {name: round(value, 3) for name, value in self._watch.seconds.items()}
        self._progress = self._progress.model_copy(update={**changes, "goodput": goodput})
        self._monitor.publish(self._progress)

    def _say(self, event: str, **facts: object) -> None:
        print(json_line({"event": event, "epoch": self._progress.epoch, **facts}), flush=True)


def _summary(entry: CheckpointEntry) -> CheckpointSummary:
    return CheckpointSummary(
        step=entry.record.step,
        epoch=entry.record.epoch,
        created_at=entry.record.created_at,
        size_bytes=sum(file.size for file in entry.record.files),
        log_index=entry.index,
    )


def _summaries(live: Sequence[CheckpointEntry]) -> list[CheckpointSummary]:
    return [_summary(entry) for entry in live[-_MAX_CHECKPOINTS:]]
