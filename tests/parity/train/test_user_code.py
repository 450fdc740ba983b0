"""A loss and an optimizer of the user's image, in the built-in loop."""

from pathlib import Path

import pytest
from training_cases import MonitorAt, final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.contract.messages import Control, Verdict
from deepseek_workloads.contract.monitoring import Alerts, NotANumberRule
from deepseek_workloads.train.refused import SettingRefused

CODE = """
import torch
import torch.nn.functional as F

def entropy(hidden, weight, labels):
    return F.cross_entropy(F.linear(hidden, weight).float(), labels, ignore_index=-100)

def smoothed(hidden, weight, labels):
    return F.cross_entropy(F.linear(hidden, weight).float(), labels, ignore_index=-100, label_smoothing=0.3)

def by_label(hidden, weight, labels):
    return F.cross_entropy(F.linear(hidden, weight).float(), labels, reduction="none")

def not_a_number(hidden, weight, labels):
    return entropy(hidden, weight, labels) * float("nan")

def adamw(groups, config):
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.epsilon)

def heavy_ball(groups, config):
    return torch.optim.SGD(groups, momentum=0.9)

def first_group(groups, config):
    return torch.optim.SGD(groups[:1])

def nothing(groups, config):
    return None
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("functions")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    (folder / "own_functions.py").write_text(CODE)
    return write_dataset(folder)


@pytest.fixture(autouse=True)
def image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))


def settings(loss: str | None, optimizer: str | None) -> dict[str, object]:
    own = {"function": f"own_functions:{optimizer}"} if optimizer else {}
    return {
        "loss_function": f"own_functions:{loss}" if loss else None,
        "optimizer": {"learning_rate": 3e-3, **own},
    }


def trained(
    folder: Path, dataset: str, name: str, loss: str | None = None, optimizer: str | None = None
) -> Verdict:
    run = run_config(f"file://{folder}/{name}", dataset, **settings(loss, optimizer))  # type: ignore[arg-type]
    return train_alone(run)


def test_functions_that_do_what_ours_do_train_the_same_model(folder: Path, dataset: str) -> None:
    ours, theirs = trained(folder, dataset, "ours"), trained(folder, dataset, "theirs", "entropy", "adamw")
    curves = [final_curve(f"file://{folder}/{name}") for name in ("ours", "theirs")]
    for step, (loss, ids) in curves[0].items():
        assert curves[1][step][0] == pytest.approx(loss, abs=1e-5)
        assert curves[1][step][1] == ids
    assert theirs.evaluation["held_out_loss"] == pytest.approx(ours.evaluation["held_out_loss"], abs=1e-5)


def test_evaluation_stays_in_nats_whatever_is_minimised(folder: Path, dataset: str) -> None:
    verdict = trained(folder, dataset, "smoothed", "smoothed")
    first, _ = final_curve(f"file://{folder}/smoothed")[1]
    plain, _ = final_curve(f"file://{folder}/ours")[1]
    assert first != pytest.approx(plain, abs=1e-4)
    ours = trained(folder, dataset, "ours")
    assert verdict.evaluation["held_out_loss"] == pytest.approx(ours.evaluation["held_out_loss"], abs=0.05)


def test_state_of_their_optimizer_is_kept_over_a_restart(folder: Path, dataset: str) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    trained(folder, dataset, "whole", optimizer="heavy_ball")
    run = run_config(f"file://{folder}/twice", dataset, **settings(None, "heavy_ball"))  # type: ignore[arg-type]
    assert train_alone(run, monitor=MonitorAt(3, stop)).outcome == "Stopped"
    assert train_alone(run).outcome == "Succeeded"
    assert final_curve(f"file://{folder}/twice") == final_curve(f"file://{folder}/whole")


def test_a_loss_that_is_not_finite_leads_to_the_function_that_gave_it(folder: Path, dataset: str) -> None:
    verdict = trained(folder, dataset, "not-finite", "not_a_number")
    assert (verdict.outcome, verdict.reason) == ("Failed", "NumericFailure")
    assert "whether spec.training.lossFunction 'own_functions:not_a_number' gives a finite" in verdict.message


def test_a_loss_that_stays_not_finite_says_that_no_rollback_is_left(folder: Path, dataset: str) -> None:
    run = run_config(f"file://{folder}/no-rollback", dataset, **settings("not_a_number", None))  # type: ignore[arg-type]
    alerts = Alerts(not_a_number=NotANumberRule(action="rollback"), max_rollbacks=0)
    verdict = train_alone(run.model_copy(update={"alerts": alerts}))
    assert verdict.reason == "NumericFailure"
    assert "must be finite, after 0 rollbacks, as many as spec.alerts.maxRollbacks allows" in verdict.message


@pytest.mark.parametrize(
    ("loss", "optimizer", "words"),
    [
        ("by_label", None, r"lossFunction.*returned Tensor of shape \[\d+\]: must be one number"),
        ("no_such", None, "lossFunction.*no function 'no_such'"),
        (None, "nothing", "optimizer.function.*returned NoneType: must be a torch.optim.Optimizer"),
        (None, "first_group", r"optimizer.function.*has \d+ of the \d+ parameters"),
    ],
)
def test_a_function_that_gives_something_else_is_refused(
    folder: Path, dataset: str, loss: str | None, optimizer: str | None, words: str
) -> None:
    with pytest.raises(SettingRefused, match=words):
        trained(folder, dataset, f"refused-{loss}-{optimizer}", loss, optimizer)
