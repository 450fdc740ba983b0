"""Any step that has a checkpoint can be exported, beside the run or after it; the run hears nothing of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import log_entries, run_config, train_alone

from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.export.load import load_export, open_export
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.export_step import NoRoom, NoSuchStep, export_step, main


def opened(storage: Storage) -> ObjectStore:
    return open_store(storage, environ={})


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": {"rank": 2}, "init_from": {"uri": "plain"}},
    "quantised": {"quantisation": {"mode": "postTraining"}},
}


@pytest.fixture(scope="module", params=SETTINGS)
def trained(request: pytest.FixtureRequest, runs: dict[str, tuple[TrainingRun, str]]) -> TrainingRun:
    return runs[request.param][0]


@pytest.fixture(scope="module")
def runs(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TrainingRun, str]]:
    """With the URI of the export, by name."""
    folder, done = tmp_path_factory.mktemp("runs"), dict[str, tuple[TrainingRun, str]]()
    for name, settings in SETTINGS.items():
        base = {"init_from": {"uri": done["plain"][1]}} if "init_from" in settings else {}
        run = run_config(f"file://{folder}/{name}", dataset, **{**settings, **base})
        verdict = train_alone(run)
        assert verdict.outcome == "Succeeded", verdict.message
        done[name] = run, verdict.uri
    return done


def weights(run: TrainingRun, digest: str) -> dict[str, torch.Tensor]:
    return dict(open_export(opened(run.storage), digest).state(run.architecture))


def test_the_last_step_is_exported_as_the_run_did(trained: TrainingRun) -> None:
    (own,) = [entry.record for entry in log_entries(trained.storage.uri) if entry.record.kind == "export"]
    export = export_step(trained, 6, open_store=opened)
    found, expected = weights(trained, export.digest), weights(trained, own.digest)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_earlier_step_is_another_model_whose_provenance_says_so(trained: TrainingRun) -> None:
    before = len(log_entries(trained.storage.uri))
    export = export_step(trained, 4, open_store=opened)
    provenance = open_export(opened(trained.storage), export.digest).manifest.provenance
    assert (provenance.step, provenance.consumed_samples, provenance.epoch) == (4, 32, 1)
    assert len(log_entries(trained.storage.uri)) == before, "the log is the run's"
    load_export(opened(Storage(uri=export.uri)), recorded=export.digest, dtype=torch.float32, device="cpu")


def test_a_step_without_a_checkpoint_names_those_that_have_one(trained: TrainingRun) -> None:
    with pytest.raises(NoSuchStep, match="these have: 2, 4, 6"):
        export_step(trained, 5, open_store=opened)


def test_where_the_weights_do_not_fit_nothing_is_loaded(trained: TrainingRun) -> None:
    with pytest.raises(NoRoom, match="in a pod of the same image"):
        export_step(trained, 4, open_store=opened, spare=2**20)


def test_it_is_a_command(trained: TrainingRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.json"
    config.write_bytes(trained.to_json())
    assert main(["--step", "2", "--run-config", str(config)]) == 0
    assert '"storageUri"' in capsys.readouterr().out
    assert main(["--step", "3", "--run-config", str(config)]) == 3
    assert "these have" in capsys.readouterr().err
