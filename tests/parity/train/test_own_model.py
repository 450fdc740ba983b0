"""A plain torch model in the built-in loop: it learns, survives a kill, is laid out and exported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from training_cases import (
    ARCHITECTURE,
    final_curve,
    log_entries,
    metric_lines,
    rewound,
    run_config,
    train_alone,
    train_group,
    write_dataset,
)

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.recipe import model_digest
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import load_export, open_export
from deepseek_workloads.store.log import live_checkpoints
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.checkpoint import CheckpointMismatch
from deepseek_workloads.train.export_step import export_step
from deepseek_workloads.train.refused import SettingRefused
from deepseek_workloads.train.registered import ModelConfig

EXAMPLE = Path(__file__).parents[3] / "manifests/examples/custom-training"
CODE = """
import torch
import torch.nn.functional as F
from small_gru import SmallGru
from torch import nn

class Doubled(SmallGru):
    def training_loss(self, input_ids, labels):
        return 2 * F.cross_entropy(self(input_ids).flatten(0, 1), labels.flatten())

def doubled(config):
    return Doubled(config.vocab_size, config.architecture.hidden_size, config.architecture.num_hidden_layers)

def other(config):
    return SmallGru(config.vocab_size, 32, 2)

def wide(config):
    return SmallGru(config.vocab_size + 1, 32, 1)

def lowered(config):
    return SmallGru(config.vocab_size, 32, 1).bfloat16()

def nothing(config):
    return 7

class Unsummed(SmallGru):
    def training_loss(self, input_ids, labels):
        return F.cross_entropy(self(input_ids).flatten(0, 1), labels.flatten(), reduction="none")

def unsummed(config):
    return Unsummed(config.vocab_size, 32, 1)

class NotFinite(SmallGru):
    def forward(self, input_ids):
        return super().forward(input_ids) * float("inf")

def not_finite(config):
    return NotFinite(config.vocab_size, 32, 1)

def without_layers(config):
    return nn.Sequential(nn.Embedding(config.vocab_size, 32), nn.Linear(32, config.vocab_size))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own-model")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    (folder / "own_models.py").write_text(CODE)
    return write_dataset(folder)


@pytest.fixture(autouse=True)
def image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(folder))


def own(
    folder: Path, dataset: str, name: str, function: str = "small_gru:build", **changes: Any
) -> TrainingRun:
    run = run_config(
        f"file://{folder}/{name}", dataset, **{"steps": 12, "optimizer": {"learning_rate": 2e-2}, **changes}
    )
    return run.model_copy(update={"model_function": function})


def opened(storage: Storage) -> Any:
    return open_store(storage, environ={})


@pytest.fixture(scope="module")
def whole(folder: Path, dataset: str) -> Verdict:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        return train_alone(own(folder, dataset, "whole"))


def test_it_learns_and_is_watched_and_evaluated_as_ours(folder: Path, dataset: str, whole: Verdict) -> None:
    storage = own(folder, dataset, "whole").storage.uri
    curve = final_curve(storage)
    assert (whole.outcome, whole.step) == ("Succeeded", 12)
    assert curve[12][0] < curve[1][0] - 0.1
    assert {"held_out_loss", "perplexity", "accuracy", "held_out_bits_per_byte"} <= whole.evaluation.keys()
    assert any(line["samples"][0]["prompt"] == "t1 t2" for line in metric_lines(storage) if "samples" in line)


def test_a_loss_that_is_not_finite_leads_to_the_function_that_made_the_model(
    folder: Path, dataset: str
) -> None:
    verdict = train_alone(own(folder, dataset, "not-finite", "own_models:not_finite"))
    assert (verdict.outcome, verdict.reason) == ("Failed", "NumericFailure")
    assert "whether spec.model.function 'own_models:not_finite' gives a finite loss" in verdict.message


def test_its_export_is_its_own_state_and_says_that_nobody_else_computes_it(
    folder: Path, dataset: str, whole: Verdict
) -> None:
    import small_gru

    run = own(folder, dataset, "whole")
    store = opened(Storage(uri=whole.uri or ""))
    reader = open_export(store)
    model = small_gru.build(ModelConfig(ARCHITECTURE, ARCHITECTURE.vocab_size, 16, torch.float32))
    model.load_state_dict(load(reader.read("model.safetensors")))
    config = reader.document("config.json")
    assert (config["model_type"], config["model_function"]) == ("custom", "small_gru:build")
    assert (reader.manifest.architecture, config["architectures"]) == ("custom", [])
    assert reader.manifest.parameters == sum(parameter.numel() for parameter in model.parameters())
    with pytest.raises(ExportError, match=r"spec.model.function 'small_gru:build'.*neither served nor"):
        load_export(store)
    again = export_step(run, 12, open_store=opened, spare=1)  # the preset's size says nothing of it
    assert load(opened(Storage(uri=again.uri)).read("model.safetensors")).keys() == model.state_dict().keys()


def test_a_killed_run_goes_on_from_its_checkpoint_with_the_same_losses(folder: Path, dataset: str) -> None:
    steps = {"steps": 60, "checkpoint_every": 10}
    undisturbed, run = (own(folder, dataset, name, **steps) for name in ("undisturbed", "killed"))
    train_alone(undisturbed)
    config = folder / "killed.json"
    config.write_bytes(run.to_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "deepseek_workloads.launch.local", f"--run-config={config}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{") and json.loads(line).get("event") == "checkpoint":
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = live_checkpoints(log_entries(run.storage.uri))[-1].record.step
    verdict = train_alone(run)
    assert (verdict.outcome, verdict.step, verdict.epoch) == ("Succeeded", 60, 2)
    expected, found = final_curve(undisturbed.storage.uri), final_curve(run.storage.uri)
    assert 0 < kept <= 60
    assert {step: found[step] for step in range(kept + 1, 61)} == {
        step: expected[step] for step in range(kept + 1, 61)
    }


def test_replicas_and_shards_train_the_same_model(folder: Path, dataset: str, whole: Verdict) -> None:
    layouts = {
        "replicas": {"parallelism": {"zero_stage": 0}},
        "shards": {"parallelism": {"zero_stage": 3}, "activation_checkpointing": "full"},
    }
    runs = [own(folder, dataset, name, world_size=2, **layout) for name, layout in layouts.items()]
    train_group(runs, folder / "ranks")
    expected = final_curve(own(folder, dataset, "whole").storage.uri)
    for run in runs:
        found = final_curve(run.storage.uri)
        assert [found[step][0] for step in found] == pytest.approx(
            [expected[step][0] for step in expected], abs=1e-5
        )
        assert [sorted(found[step][1]) for step in found] == [sorted(expected[step][1]) for step in expected]


def test_a_loss_of_its_own_is_minimised_and_evaluation_stays_in_nats(
    folder: Path, dataset: str, whole: Verdict
) -> None:
    run = own(folder, dataset, "doubled", "own_models:doubled", gradient_clip_norm=1e9)
    verdict = train_alone(run)
    plain, _ = final_curve(f"file://{folder}/whole")[1]
    assert final_curve(run.storage.uri)[1][0] == pytest.approx(2 * plain, rel=1e-6)
    assert verdict.evaluation["held_out_loss"] < plain


@pytest.mark.parametrize(
    ("function", "changes", "words"),
    [
        ("wide", {}, r"forward returned a Tensor of shape \[8, 16, 65\].*must be logits of shape"),
        ("lowered", {}, "parameter embedding.weight is torch.bfloat16: must be torch.float32"),
        ("nothing", {}, "returned int: must be a torch.nn.Module"),
        ("unsummed", {}, "training_loss returned a Tensor: must be one number"),
        ("without_layers", {"activation_checkpointing": "full"}, "names no layers"),
        ("no_such", {}, "no function 'no_such'"),
    ],
)
def test_a_function_that_gives_something_else_is_refused(
    folder: Path, dataset: str, function: str, changes: dict[str, Any], words: str
) -> None:
    run = own(folder, dataset, f"refused-{function}", f"own_models:{function}", **changes)
    with pytest.raises(SettingRefused, match=words):
        train_alone(run)


def test_a_checkpoint_of_another_function_is_refused(folder: Path, dataset: str, whole: Verdict) -> None:
    rewound(f"file://{folder}/whole", f"file://{folder}/another", to_step=12)
    run = own(folder, dataset, "another", "own_models:other")
    with pytest.raises(CheckpointMismatch, match="is of another model"):
        train_alone(run)


def test_runs_without_a_function_keep_the_digest_of_their_checkpoints(folder: Path, dataset: str) -> None:
    run = own(folder, dataset, "plain").model_copy(update={"model_function": None})
    assert model_digest(run) == sha256_digest(run.architecture.to_json())
