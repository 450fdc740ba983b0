"""What is done about a step that looks bad, in a real run; and what a run can be asked to show of itself."""

import gzip
import json
from pathlib import Path

import pytest
from training_cases import MonitorAt, log_entries, metric_lines, run_config, train_alone, write_dataset

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Control, Progress
from deepseek_workloads.contract.monitoring import AlertRule, Alerts, ExpertLoadRule, Monitoring, Profile
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.audit import main as audit
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.monitor import LocalMonitor
from deepseek_workloads.train.watch.idle_experts import WINDOW_STEPS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(dataset: str, tmp_path: Path) -> TrainingRun:
    return run_config(f"file://{tmp_path}/run", dataset)


def strict(action: str, **changes: int) -> Alerts:
    """Every gradient is too large."""
    rule = AlertRule.model_validate({"threshold": 0, "action": action})
    return Alerts(gradient_norm=rule, **changes)


class RulesDuring(LocalMonitor):
    """Strict rules come after step `step` and go when one step was held against them."""

    def __init__(self, step: int, rules: Alerts) -> None:
        super().__init__(Control())
        self._step, self._rules = step, rules
        self._done = False

    def heartbeat(self, step: int) -> None:
        super().heartbeat(step)
        if step == self._step and not self._done:
            self.control = Control(alerts=self._rules)

    def publish(self, progress: Progress) -> None:
        super().publish(progress)
        if progress.alerts:
            self._done = True
            self.control = Control()


def steps_taken(run: TrainingRun) -> list[tuple[int, bool]]:
    return [(line["step"], line["applied"]) for line in metric_lines(run.storage.uri) if "applied" in line]


def test_a_step_that_is_skipped_changes_no_weights_and_the_run_goes_on(run: TrainingRun) -> None:
    monitor = RulesDuring(3, strict("skip"))
    assert train_alone(run, monitor=monitor).outcome == "Succeeded"
    assert [step for step, applied in steps_taken(run) if not applied] == [4]
    (alert,) = monitor.published[-1].alerts
    assert (alert.kind, alert.action, alert.step) == ("GradientNorm", "skip", 4)
    assert any("step 4: gradient norm" in warning for warning in monitor.published[-1].warnings)


def test_a_rollback_takes_earlier_weights_and_leaves_out_the_batch(run: TrainingRun, tmp_path: Path) -> None:
    verdict = train_alone(run, monitor=RulesDuring(3, strict("rollback")))
    assert (verdict.outcome, verdict.step) == ("Succeeded", 6)
    assert [step for step, _ in steps_taken(run)] == [1, 2, 3, 3, 4, 5, 6]
    assert verdict.consumed_samples == 8 * (4 + 4), "steps 1 to 4, the bad one, and 3 to 6 on other samples"
    rolled_back = next(
        entry.record
        for entry in live_checkpoints(log_entries(run.storage.uri))
        if entry.record.reason == "rollback"
    )
    assert (rolled_back.step, rolled_back.consumed_samples) == (2, 32)
    seen = [number for line in metric_lines(run.storage.uri) for number in line.get("sampleIds", [])]
    assert len(seen) == len(set(seen))
    (tmp_path / "run-config.json").write_text(run.to_json().decode())
    assert audit(["--run-config", str(tmp_path / "run-config.json")]) == 0, (
        "the log explains what was left out"
    )


def test_a_second_rollback_does_not_go_forward_to_the_weights_that_the_first_gave_up(
    run: TrainingRun,
) -> None:
    def distrust(monitor: MonitorAt) -> None:
        rules = strict("rollback", rollback_checkpoints=2, max_rollbacks=2)
        monitor.control = Control(generation=1, alerts=rules)

    verdict = train_alone(run, monitor=MonitorAt(5, distrust))
    assert (verdict.outcome, verdict.reason, verdict.step) == ("Failed", "StoppedByAlert", 2)
    assert [step for step, _ in steps_taken(run)] == [1, 2, 3, 4, 5]
    live = [entry.record for entry in live_checkpoints(log_entries(run.storage.uri))]
    assert [(record.step, record.reason, record.consumed_samples) for record in live] == [
        (2, "rollback", 8 * (5 + 2))
    ]


def test_a_rollback_over_a_damaged_checkpoint_says_so(run: TrainingRun) -> None:
    def distrust(monitor: MonitorAt) -> None:
        newest = live_checkpoints(log_entries(run.storage.uri))[-1].record
        open_store(run.storage, environ={}).delete([newest.files[0].key])
        monitor.control = Control(generation=1, alerts=strict("rollback", max_rollbacks=1))

    monitor = MonitorAt(5, distrust)
    sync = run.checkpoint.model_copy(update={"mode": "sync"})  # the newest is that of step 4
    verdict = train_alone(run.model_copy(update={"checkpoint": sync}), monitor=monitor)
    assert (verdict.reason, verdict.step) == ("StoppedByAlert", 2)
    assert any("step 4 is damaged" in warning for warning in monitor.published[-1].warnings)
    live = [entry.record for entry in live_checkpoints(log_entries(run.storage.uri))]
    assert [(record.step, record.reason) for record in live] == [(2, "rollback")]


def test_a_rollback_that_is_to_go_further_back_than_checkpoints_are_kept_says_so(run: TrainingRun) -> None:
    monitor = RulesDuring(5, strict("rollback", rollback_checkpoints=50))
    sync = run.checkpoint.model_copy(update={"mode": "sync", "keep_last": 1})  # that of step 4
    assert train_alone(run.model_copy(update={"checkpoint": sync}), monitor=monitor).outcome == "Succeeded"
    (said,) = (warning for warning in monitor.published[-1].warnings if "rolled back" in warning)
    assert "of step 4, the oldest of 1 that there are: spec.alerts.rollbackCheckpoints asks for 50" in said


def test_without_a_checkpoint_a_rollback_is_a_skipped_step(run: TrainingRun) -> None:
    monitor = RulesDuring(1, strict("rollback"))
    rare = run.model_copy(update={"checkpoint": run.checkpoint.model_copy(update={"every_steps": 5})})
    assert train_alone(rare, monitor=monitor).outcome == "Succeeded"
    assert [step for step, applied in steps_taken(run) if not applied] == [2]
    assert any("no checkpoint to roll back to" in warning for warning in monitor.published[-1].warnings)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (strict("stop"), "whose action in spec.alerts is stop"),
        (strict("rollback", max_rollbacks=0), "after 0 rollbacks"),
    ],
)
def test_a_stop_ends_the_run_and_names_the_figure(run: TrainingRun, rules: Alerts, reason: str) -> None:
    verdict = train_alone(run, monitor=RulesDuring(3, rules))
    assert (verdict.outcome, verdict.reason) == ("Failed", "StoppedByAlert")
    assert (verdict.step, verdict.exit_code) == (3, ExitCode.NUMERIC_FAILURE)
    assert "step 4: gradient norm" in verdict.message
    assert reason in verdict.message


def test_a_run_some_of_whose_experts_get_no_tokens_says_so(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = DeepseekV3ForCausalLM.init_weights

    def one_of_four(model: DeepseekV3ForCausalLM, seed: int) -> None:
        begin(model, seed)
        for mixture in model.mixtures():
            mixture.gate.e_score_correction_bias[:1] -= 10.0

    monkeypatch.setattr(DeepseekV3ForCausalLM, "init_weights", one_of_four)
    training = run.training.model_copy(update={"steps": WINDOW_STEPS + 1})
    alerts = Alerts(expert_load=ExpertLoadRule(threshold=10, idle_share=0.1))
    longer = run.model_copy(update={"training": training, "alerts": alerts})
    monitor = LocalMonitor()
    assert train_alone(longer, monitor=monitor).outcome == "Succeeded"
    lines = [line for line in metric_lines(run.storage.uri) if "expertIdleShare" in line]
    told = {line["step"]: line["expertIdleShare"] for line in lines}
    assert told == {WINDOW_STEPS: 0.25, WINDOW_STEPS + 1: 0.25}
    (alert,) = monitor.published[-1].alerts
    assert (alert.kind, alert.action, alert.step) == ("ExpertCollapse", "warn", WINDOW_STEPS + 1)
    words = "share of a layer's experts with next to no tokens in 32 steps 0.25 (layer 1): above 0.1"
    assert alert.message == words


def test_a_run_shows_what_it_was_asked_for(run: TrainingRun, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = Monitoring(
        activation_range_every_steps=2, histograms_every_steps=3, profile=Profile(from_step=2, steps=2)
    )
    train_alone(run.model_copy(update={"monitoring": asked}))
    lines = [line for line in metric_lines(run.storage.uri) if "applied" in line]
    assert lines[0]["readLatencySeconds"] > 0
    looked = {line["step"]: line["activationRange"] for line in lines if "activationRange" in line}
    assert list(looked) == [2, 4, 6]
    assert all(value > 0 for value in looked.values())
    assert all(line["dataWaitSeconds"] >= 0 and line["computeSeconds"] > 0 for line in lines)

    store = open_store(run.storage, environ={})
    trace = gzip.decompress(store.read("runs/00000001/profile/steps-00000002-00000003.json.gz"))
    assert json.loads(trace)["traceEvents"]

    for info in store.list("runs/00000001/tensorboard/"):
        store.get_file(info.key, tmp_path / Path(info.key).name)
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0})
    events.Reload()
    for kind in ("weights", "gradients"):
        tag = f"{kind}/model.embed_tokens.weight"
        assert [point.step for point in events.Histograms(tag)] == [3, 6]
