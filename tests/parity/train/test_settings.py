"""Settings of a training beside kinds of models, and over an interruption: each goes with each."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_cases import ARCHITECTURE, MonitorAt, final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.contract.architecture import Architecture, Attention, Dropout, HeadGate, Indexer, MoE
from deepseek_workloads.contract.messages import Control
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.export.load import open_export
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train import loss_scale

Settings = dict[str, Any]  # of the training, given the URI of an export of the same model

ARCHITECTURES = {
    "mla": {},
    "head gates": {"attention": Attention(head_gate=HeadGate())},
    "dropout": {"dropout": Dropout(attention=0.1, residual=0.1, embedding=0.1)},
    "indexer": {"indexer": Indexer(index_n_heads=2, index_head_dim=16, index_topk=4)},
    "mtp": {"num_nextn_predict_layers": 1},
    "gqa": {"attention": Attention(kind="gqa", num_key_value_heads=1, head_gate=HeadGate())},
    "window": {"attention": Attention(kind="slidingWindow", sliding_window=4)},
    "lsh": {"attention": Attention(kind="lsh", num_buckets=4, num_hashes=2)},
    "softmax": {
        "moe": MoE(
            n_routed_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            first_k_dense_replace=1,
            scoring_func="softmax",
            bias_update_speed=0,
            load_balance_loss_weight=0.01,
            expert_capacity_factor=1.0,
        )
    },
}
SETTINGS: dict[str, Callable[[str], Settings]] = {
    "fp16": lambda _: {"precision": "fp16"},
    "fp8": lambda _: {"precision": "fp8"},
    "overrides": lambda _: {
        "precision": "bf16",
        "precision_overrides": [{"modules": "model.layers.1.*", "precision": "fp32"}],
    },
    "recomputed": lambda _: {"activation_checkpointing": "full"},
    "lora": lambda base: {"init_from": {"uri": base}, "lora": {"rank": 2}},
    "quantisation": lambda _: {"quantisation": {"bits": 4}},
    "pruning": lambda _: {"pruning": {"sparsity": 0.25, "at_step": 2}},
    "distillation": lambda base: {"distillation": {"teacher": {"uri": base}}},
    "consolidation": lambda base: {
        "init_from": {"uri": base},
        "consolidation": {"source": "rule", "samples": 2, "strength": 100.0},
    },
    "curriculum": lambda _: {"curriculum": [{"until_step": 1, "sequence_length": 8}]},
}
IN_SHORT = {"head gates", "indexer"}  # whose passes differ most; the others are for the wider matrix


def architecture(name: str) -> Architecture:
    return ARCHITECTURE.model_copy(update=ARCHITECTURES[name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    return write_dataset(folder)


@pytest.fixture(scope="module")
def base(folder: Path, dataset: str) -> Callable[[str], str]:
    """The URI of an export of such a model, trained for a step."""
    known: dict[str, str] = {}

    def trained(name: str) -> str:
        if name not in known:
            run = run_config(
                f"file://{folder}/base-{name}", dataset, steps=1, architecture=architecture(name)
            )
            known[name] = train_alone(short(run)).uri
        return known[name]

    return trained


def short(run: TrainingRun) -> TrainingRun:
    """Of 8 samples of 16 tokens a step only 2, and nothing continued."""
    schedule = run.training.schedule.model_copy(update={"warmup_steps": 1})
    training = run.training.model_copy(update={"global_batch_size": 2, "schedule": schedule})
    evaluation = run.evaluation.model_copy(update={"max_samples": 2, "prompts": []})
    return run.model_copy(update={"training": training, "evaluation": evaluation})


def state(uri: str, model: Architecture) -> dict[str, Tensor]:
    return open_export(open_store(Storage(uri=uri), environ={})).state(model)


def wide(names: Iterable[str], in_short: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in in_short else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", wide(ARCHITECTURES, IN_SHORT))
def test_a_setting_trains_a_model_to_an_export(
    folder: Path, dataset: str, base: Callable[[str], str], name: str, setting: str
) -> None:
    model, given = architecture(name), SETTINGS[setting](base(name))
    uri = f"file://{folder}/{name}-{setting}"
    run = run_config(uri, dataset, steps=2, checkpoint_every=2, architecture=model, **given)
    verdict = train_alone(short(run))
    assert verdict.outcome == "Succeeded", verdict.message
    assert all(value.isfinite().all() for value in state(verdict.uri, model).values())


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", wide(["mla", "dropout"], ["dropout"]))
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    folder: Path,
    dataset: str,
    base: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    setting: str,
) -> None:
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**26)  # overflows at first: it moves
    given = SETTINGS[setting](base(name))
    whole, resumed = (
        run_config(
            f"file://{folder}/{name}-{setting}-{kind}", dataset, architecture=architecture(name), **given
        )
        for kind in ("whole", "resumed")
    )

    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    expected = train_alone(whole)
    assert train_alone(resumed, monitor=MonitorAt(3, stop)).outcome == "Stopped"
    found = train_alone(resumed)
    assert final_curve(resumed.storage.uri) == final_curve(whole.storage.uri)
    pair = (state(verdict.uri, architecture(name)) for verdict in (expected, found))
    for (key, one), (_, other) in zip(*(sorted(each.items()) for each in pair), strict=True):
        assert torch.equal(one, other), key
