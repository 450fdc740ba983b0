"""What is told of a step can be read by whoever reads JSON."""

import json
from pathlib import Path
from typing import Any

from deepseek_workloads.contract.messages import AlertSummary
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.train.checkpoint import Position
from deepseek_workloads.train.monitor import LocalMonitor
from deepseek_workloads.train.reporting import Reporter
from deepseek_workloads.train.stopwatch import Stopwatch
from deepseek_workloads.train.trainer import StepResult

OVERFLOW = StepResult(
    loss=5.0,
    auxiliary={},
    gradient_norm=float("inf"),
    votes=(),
    sample_ids=(1, 2),
    expert_load=1.0,
    dropped=0,
    overflow=True,
)


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"JSON has no {constant}")

    return json.loads(text, parse_constant=refuse)


def test_a_step_whose_gradients_overflowed_is_told_without_infinities(tmp_path: Path, capsys: Any) -> None:
    store, monitor = FileObjectStore(tmp_path), LocalMonitor()
    reporter = Reporter(monitor, store, Stopwatch(), epoch=1, total_steps=9, data_path="gloo")
    reporter.step(Position(1, 2, 32), OVERFLOW, learning_rate=1e-3, more={})
    reporter.close()

    (line,) = [strict(text) for text in store.read("runs/00000001/metrics.jsonl").decode().splitlines()]
    assert (line["loss"], line["gradientNorm"]) == (5.0, None)
    assert strict(monitor.published[-1].to_json())["loss"] == 5.0
    for text in capsys.readouterr().out.splitlines():
        strict(text)


def test_an_alert_is_one_warning_as_long_as_it_goes_on(tmp_path: Path) -> None:
    monitor = LocalMonitor()
    reporter = Reporter(
        monitor, FileObjectStore(tmp_path), Stopwatch(), epoch=1, total_steps=9, data_path="gloo"
    )
    for step in (1, 2, 3):
        alert = AlertSummary(kind="GradientNorm", action="skip", step=step, message=f"norm {step}")
        reporter.alerts([alert], step=step)
        assert monitor.published[-1].alerts == [alert]
    assert monitor.published[-1].warnings == ["step 1: norm 1; action skip"]
    reporter.alerts([], step=30)
    reporter.alerts([alert.model_copy(update={"step": 31})], step=31)
    assert len(monitor.published[-1].warnings) == 2
    reporter.close()
