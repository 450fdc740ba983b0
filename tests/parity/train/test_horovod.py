"""Horovod's ranks train like one process and like DDP: same samples, same losses, the same checkpoints.

Two ranks are started once and run several configs.
"""

from pathlib import Path
from typing import Any

import horovod_ranks
import pytest
from training_cases import (
    ARCHITECTURE,
    final_curve,
    rewound,
    run_config,
    samples,
    train_alone,
    train_group,
    write_dataset,
)

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun

TOLERANCE = 1e-6  # nats; float32
FP16_TOLERANCE = 1e-4
BFLOAT16_TOLERANCE = 2e-3
TIED = ARCHITECTURE.model_copy(update={"tie_word_embeddings": True})
ALONE: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"architecture": TIED},
    "bf16": {"precision": "bf16"},
    "from an export": {"init_from": "plain"},
}
BY_HOROVOD: dict[str, dict[str, Any]] = {
    "horovod": {},
    "horovod again": {},
    "horovod, small passes": {"micro_batch_size": 1},
    "horovod, fp16": {"horovod": {"compression": "fp16"}},
    "horovod, tied": {"architecture": TIED},
    "horovod, bf16": {"precision": "bf16"},
    "horovod, from an export": {"init_from": "plain"},
    "ddp -> horovod": {},
}
CONTINUED = {"ddp -> horovod": "ddp", "horovod -> ddp": "horovod", "horovod -> alone": "horovod"}
NAMES = [*BY_HOROVOD, "horovod -> ddp", "horovod -> alone"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("horovod")


@pytest.fixture(scope="module")
def verdicts(folder: Path, horovod_site: str) -> dict[str, Verdict]:
    """Of every run, by name; the storage of a run is `uri(folder, name)`."""
    dataset = write_dataset(folder)
    done: dict[str, Verdict] = {}

    def config(name: str, changes: dict[str, Any], *, world_size: int) -> TrainingRun:
        if "init_from" in changes:
            changes = {**changes, "init_from": {"uri": done[changes["init_from"]].uri}}
        if name in CONTINUED:
            rewound(uri(folder, CONTINUED[name]), uri(folder, name), to_step=4)
        changes = {"parallelism": {"zero_stage": 0}, **changes}
        run = run_config(uri(folder, name), dataset, world_size=world_size, **changes)
        return run.model_copy(update={"backend": "horovod" if name in BY_HOROVOD else "ray"})

    def on_two_ranks(cases: dict[str, dict[str, Any]]) -> list[TrainingRun]:
        return [config(name, changes, world_size=2) for name, changes in cases.items()]

    for name, changes in ALONE.items():
        done[name] = train_alone(config(name, changes, world_size=1))
    (done["ddp"],) = train_group(on_two_ranks({"ddp": {}}), folder / "ranks-ddp")
    runs = on_two_ranks(BY_HOROVOD)
    done |= dict(zip(BY_HOROVOD, horovod_ranks.train(runs, folder / "ranks", site=horovod_site), strict=True))
    (done["horovod -> ddp"],) = train_group(on_two_ranks({"horovod -> ddp": {}}), folder / "ranks-more")
    done["horovod -> alone"] = train_alone(config("horovod -> alone", {}, world_size=1))
    return done


def uri(folder: Path, name: str) -> str:
    return f"file://{folder}/{name.replace(' ', '-').replace(',', '').replace('>', '')}"


def reference(name: str) -> str:
    return next((alone for alone in ("tied", "bf16", "from an export") if alone in name), "plain")


def tolerance(name: str) -> float:
    if "bf16" in name:
        return BFLOAT16_TOLERANCE
    return FP16_TOLERANCE if "fp16" in name else TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_losses_are_those_of_one_rank(
    verdicts: dict[str, Verdict], folder: Path, name: str
) -> None:
    curve, expected = (final_curve(uri(folder, run)) for run in (name, reference(name)))
    assert list(curve) == list(range(5 if name in CONTINUED else 1, 7))
    for step, (loss, ids) in curve.items():
        assert ids == expected[step][1], step
        assert loss == pytest.approx(expected[step][0], abs=tolerance(name)), step


@pytest.mark.parametrize("name", ["horovod", "horovod, small passes", "horovod, fp16"])
def test_samples_and_losses_are_those_of_ddp(verdicts: dict[str, Verdict], folder: Path, name: str) -> None:
    curve, expected = (final_curve(uri(folder, run)) for run in (name, "ddp"))
    assert {step: ids for step, (_, ids) in curve.items()} == {
        step: ids for step, (_, ids) in expected.items()
    }
    for step, (loss, _) in curve.items():
        assert loss == pytest.approx(expected[step][0], abs=tolerance(name)), step


def test_a_repeated_run_is_the_same_to_the_last_bit(verdicts: dict[str, Verdict], folder: Path) -> None:
    first, again = (final_curve(uri(folder, name)) for name in ("horovod", "horovod again"))
    assert first == again


@pytest.mark.parametrize("name", NAMES)
def test_the_evaluation_is_that_of_one_rank(verdicts: dict[str, Verdict], name: str) -> None:
    expected = verdicts[reference(name)].evaluation["held_out_loss"]
    assert verdicts[name].evaluation["held_out_loss"] == pytest.approx(expected, abs=tolerance(name))
    assert verdicts[name].outcome == "Succeeded"


def test_prompts_are_continued_as_on_one_rank(verdicts: dict[str, Verdict], folder: Path) -> None:
    alone, spread = (samples(uri(folder, name)) for name in ("plain", "horovod"))
    assert alone == spread
