"""A plain torch model of a user's own, trained by the example's code: it learns, survives a kill, stops."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from training_cases import MonitorAt, log_entries, metric_lines, run_config, train_alone

from deepseek_workloads.contract.messages import Control, Verdict
from deepseek_workloads.contract.run_config import Evaluation, TrainingRun
from deepseek_workloads.data.audit import main as audit
from deepseek_workloads.launch.preflight import preflight
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.context import Preempted
from deepseek_workloads.train.refused import SettingRefused

EXAMPLE = Path(__file__).parents[3] / "manifests/examples/custom-training"
SECONDS = 240


@pytest.fixture(autouse=True)
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


def custom(folder: Path, dataset: str, **changes: object) -> TrainingRun:
    training = {"entrypoint": "next_token:train", "optimizer": {"learning_rate": 3e-3}, **changes}
    run = run_config(f"file://{folder}/run", dataset, **training)  # type: ignore[arg-type]
    return run.model_copy(update={"evaluation": Evaluation()})


def losses(run: TrainingRun) -> dict[int, float]:
    """Of the newest epoch that took the step."""
    return {line["step"]: line["loss"] for line in metric_lines(run.storage.uri)}


def start(run: TrainingRun, folder: Path) -> subprocess.Popen[str]:
    config = folder / "run-config.json"
    config.write_bytes(run.to_json())
    return subprocess.Popen(
        [sys.executable, "-m", "deepseek_workloads.launch.local", f"--run-config={config}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_it_learns_and_leaves_checkpoints_and_figures(dataset: str, tmp_path: Path) -> None:
    run = custom(tmp_path, dataset, steps=20)
    verdict = train_alone(run)
    assert (verdict.outcome, verdict.step, verdict.consumed_samples) == ("Succeeded", 20, 160)
    curve = losses(run)
    assert list(curve) == list(range(1, 21))
    assert curve[20] < curve[1] - 0.1
    assert live_checkpoints(log_entries(run.storage.uri))[-1].record.reason == "final"


def test_a_killed_run_goes_on_from_its_checkpoint_with_the_same_losses(dataset: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    undisturbed, run = (custom(folder, dataset, steps=400, checkpoint_every=20) for folder in (whole, killed))
    train_alone(undisturbed)
    process = start(run, killed)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{") and json.loads(line).get("event") == "checkpoint":
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=SECONDS)
    again = start(run, killed)
    output, _ = again.communicate(timeout=SECONDS)
    verdict = Verdict.model_validate_json(output.splitlines()[-1])
    assert (verdict.outcome, verdict.step, verdict.epoch) == ("Succeeded", 400, 2)
    resumed = next(json.loads(line) for line in output.splitlines() if '"resumed"' in line)
    assert 0 < resumed["step"] < 400
    expected, found = losses(undisturbed), losses(run)
    assert {step: found[step] for step in range(resumed["step"] + 1, 401)} == {
        step: expected[step] for step in range(resumed["step"] + 1, 401)
    }


def test_a_stop_and_a_preemption_leave_a_checkpoint(dataset: str, tmp_path: Path) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    run = custom(tmp_path, dataset)
    verdict = train_alone(run, monitor=MonitorAt(1, stop))
    assert (verdict.outcome, verdict.step, verdict.exit_code) == ("Stopped", 1, 0)
    with pytest.raises(Preempted, match="step 2"):
        train_alone(run, draining=lambda: True)
    assert live_checkpoints(log_entries(run.storage.uri))[-1].record.reason == "preemption"
    assert train_alone(run).outcome == "Succeeded"


DIVERGING = """
import torch

def train(run):
    model = torch.nn.Linear(1, 1)
    for step in run.steps(model, torch.optim.SGD(model.parameters())):
        step.report(loss=float("nan") if step.number == 3 else 1.0)
"""


def test_a_figure_that_is_not_finite_ends_the_run_for_good(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "diverging.py").write_text(DIVERGING)
    monkeypatch.syspath_prepend(str(tmp_path))
    verdict = train_alone(custom(tmp_path, dataset, entrypoint="diverging:train"))
    assert (verdict.outcome, verdict.reason, verdict.step) == ("Failed", "NumericFailure", 2)
    assert "step 3: {'loss': nan}: must be finite" in verdict.message


REPORTING = """
import torch

def train(run):
    model = torch.nn.Linear(1, 1)
    for step in run.steps(model, torch.optim.SGD(model.parameters())):
        step.report(loss=model(torch.ones(1)).square().mean(), share=torch.tensor(3) / 4)
        if step.number == 2:
            step.report(rows=torch.ones(2))
"""


def test_tensors_of_one_number_are_figures_and_others_are_refused(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reporting.py").write_text(REPORTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = custom(tmp_path, dataset, entrypoint="reporting:train")
    with pytest.raises(SettingRefused, match=r"report\(rows=\.\.\.\).*must be one number"):
        train_alone(run)
    (line,) = [line for line in metric_lines(run.storage.uri) if "share" in line]
    assert line["share"] == 0.75
    assert line["loss"] > 0


def test_an_audit_says_that_such_a_run_logs_no_samples(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run-config.json").write_bytes(custom(tmp_path, dataset).to_json())
    assert audit(["--run-config", str(tmp_path / "run-config.json")]) == 1
    *of_order, of_run = map(json.loads, capsys.readouterr().out.splitlines())
    assert all(line["inOrder"] for line in of_order)
    assert of_run["inOrder"] is None
    assert "logs no sample ids" in of_run["first"][0]


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [("no_such_module:train", "cannot be imported"), ("next_token:no_such", "no function 'no_such'")],
)
def test_what_is_not_there_is_named(dataset: str, tmp_path: Path, entrypoint: str, words: str) -> None:
    with pytest.raises(SettingRefused, match=f"spec.training.entrypoint.*{words}"):
        train_alone(custom(tmp_path, dataset, entrypoint=entrypoint))


def test_a_missing_module_is_found_before_any_worker_exists(dataset: str, tmp_path: Path) -> None:
    def refusals(entrypoint: str) -> list[str]:
        run = custom(tmp_path, dataset, entrypoint=entrypoint)
        return [
            refusal.message for refusal in preflight(run, lambda storage: open_store(storage, environ={}))
        ]

    assert refusals("next_token:train") == []
    assert any("no module 'elsewhere'" in message for message in refusals("elsewhere:train"))
