"""The number of ranks and the way the model is spread change nothing: same samples, same losses.

Each set of ranks is started once and runs several configs. Sums have another order on another number of
ranks, hence the tolerance; on the same number a continued run equals an uninterrupted one to the last bit.
"""

from pathlib import Path
from typing import Any

import pytest
from training_cases import (
    ARCHITECTURE,
    final_curve,
    rewound,
    run_config,
    samples,
    step_lines,
    train_alone,
    train_group,
    write_dataset,
)

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun

LOSS_TOLERANCE = 2e-6  # nats; float32
HALF_TOLERANCE = 2e-3  # bf16, fp16, fp8
TIED = ARCHITECTURE.model_copy(update={"tie_word_embeddings": True})

ALONE: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"architecture": TIED},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "fp8": {"precision": "fp8"},
    "muon": {"optimizer": {"name": "muon", "learning_rate": 3e-3}},
    "amf": {"optimizer": {"name": "amf", "learning_rate": 3e-4}},
    "from an export": {"init_from": "plain"},
}
ON_TWO_RANKS: dict[str, dict[str, Any]] = {
    "zero 0": {"parallelism": {"zero_stage": 0}},
    "zero 0, small passes": {"parallelism": {"zero_stage": 0}, "micro_batch_size": 1},
    "zero 1, small passes": {"parallelism": {"zero_stage": 1}, "micro_batch_size": 1},
    "zero 2, small passes": {"parallelism": {"zero_stage": 2}, "micro_batch_size": 2},
    "zero 3": {"parallelism": {"zero_stage": 3}},
    "zero 2, tied": {"parallelism": {"zero_stage": 2}, "architecture": TIED},
    "zero 3, bf16": {"parallelism": {"zero_stage": 3}, "precision": "bf16"},
    "zero 3, fp8": {"parallelism": {"zero_stage": 3}, "precision": "fp8"},
    "zero 0, fp16": {"precision": "fp16", "parallelism": {"zero_stage": 0}},
    "zero 3, fp16": {"precision": "fp16", "parallelism": {"zero_stage": 3}},
    "zero 3, muon": {**ALONE["muon"], "parallelism": {"zero_stage": 3}},
    "zero 3, amf": {**ALONE["amf"], "parallelism": {"zero_stage": 3}},
    "zero 3, recomputed": {"activation_checkpointing": "full", "parallelism": {"zero_stage": 3}},
    "zero 0, recomputed": {"activation_checkpointing": "selective", "parallelism": {"zero_stage": 0}},
    "zero 3, found passes": {
        "parallelism": {"zero_stage": 3},
        "find_micro_batch_size": True,
        "memory_bytes": 2**36,
    },
    "zero 0, from an export": {"parallelism": {"zero_stage": 0}, "init_from": "plain"},
    "zero 3, from an export": {"parallelism": {"zero_stage": 3}, "init_from": "plain"},
}
# What is continued after step 4, by whom, and how.
ON_FOUR_RANKS: dict[str, dict[str, Any]] = {
    "zero 2 on 4": {"parallelism": {"zero_stage": 2}},
    "zero 3 on 2 -> zero 0 on 4": {"parallelism": {"zero_stage": 0}},
    "alone -> zero 3 on 4": {"parallelism": {"zero_stage": 3}},
    "muon alone -> zero 3 on 4": {**ALONE["muon"], "parallelism": {"zero_stage": 3}},
    "amf alone -> zero 3 on 4": {**ALONE["amf"], "parallelism": {"zero_stage": 3}},
}
ALONE_AGAIN: dict[str, dict[str, Any]] = {
    "zero 3 on 2 -> alone": {},
    "zero 0 on 2 -> alone": {},
    "muon, zero 3 on 2 -> alone": ALONE["muon"],
}
CONTINUED = {
    "zero 3 on 2 -> zero 0 on 4": "zero 3",
    "alone -> zero 3 on 4": "plain",
    "zero 3 on 2 -> alone": "zero 3",
    "zero 0 on 2 -> alone": "zero 0",
    "muon alone -> zero 3 on 4": "muon",
    "amf alone -> zero 3 on 4": "amf",
    "muon, zero 3 on 2 -> alone": "zero 3, muon",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("groups")


@pytest.fixture(scope="module")
def verdicts(folder: Path) -> dict[str, Verdict]:
    """Of every run, by name; the storage of a run is `uri(folder, name)`."""
    dataset = write_dataset(folder)

    done: dict[str, Verdict] = {}

    def config(name: str, world_size: int, changes: dict[str, Any]) -> TrainingRun:
        if "init_from" in changes:
            changes = {**changes, "init_from": {"uri": done[changes["init_from"]].uri}}
        if name in CONTINUED:
            rewound(uri(folder, CONTINUED[name]), uri(folder, name), to_step=4)
        return run_config(uri(folder, name), dataset, world_size=world_size, **changes)

    for name, changes in ALONE.items():
        done[name] = train_alone(config(name, 1, changes))
    for world_size, cases in ((2, ON_TWO_RANKS), (4, ON_FOUR_RANKS)):
        runs = [config(name, world_size, changes) for name, changes in cases.items()]
        results = train_group(runs, folder / f"ranks-{world_size}")
        done |= dict(zip(cases, results, strict=True))
    for name, changes in ALONE_AGAIN.items():
        done[name] = train_alone(config(name, 1, changes))
    return done


def uri(folder: Path, name: str) -> str:
    return f"file://{folder}/{name.replace(' ', '-').replace(',', '').replace('>', '')}"


def reference(name: str) -> str:
    return next(
        (
            alone
            for alone in ("tied", "bf16", "fp16", "fp8", "muon", "amf", "from an export")
            if alone in name
        ),
        "plain",
    )


def tolerance_of(name: str) -> float:
    return HALF_TOLERANCE if "bf16" in name or "fp16" in name or "fp8" in name else LOSS_TOLERANCE


NAMES = [*ON_TWO_RANKS, *ON_FOUR_RANKS, *ALONE_AGAIN]


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_losses_are_those_of_one_rank(
    verdicts: dict[str, Verdict], folder: Path, name: str
) -> None:
    curve, expected = (final_curve(uri(folder, run)) for run in (name, reference(name)))
    first = 5 if name in CONTINUED else 1
    assert list(curve) == list(range(first, 7))
    tolerance = tolerance_of(name)
    for step, (loss, ids) in curve.items():
        assert ids == expected[step][1], step
        assert loss == pytest.approx(expected[step][0], abs=tolerance), step


@pytest.mark.parametrize("name", NAMES)
def test_the_evaluation_is_that_of_one_rank(verdicts: dict[str, Verdict], name: str) -> None:
    expected = verdicts[reference(name)].evaluation["held_out_loss"]
    tolerance = tolerance_of(name)
    assert verdicts[name].evaluation["held_out_loss"] == pytest.approx(expected, abs=tolerance)
    assert verdicts[name].outcome == "Succeeded"


def test_prompts_are_continued_as_on_one_rank(verdicts: dict[str, Verdict], folder: Path) -> None:
    alone, *spread = [samples(uri(folder, name)) for name in ("plain", "zero 0", "zero 3", "zero 2 on 4")]
    assert alone
    assert all(texts == alone for texts in spread)


def test_a_run_from_an_export_begins_with_what_the_export_has_learnt(
    verdicts: dict[str, Verdict], folder: Path
) -> None:
    first_loss, _ = final_curve(uri(folder, "from an export"))[1]
    last_loss, _ = final_curve(uri(folder, "plain"))[6]
    assert first_loss < last_loss


def test_every_step_is_logged_once(verdicts: dict[str, Verdict], folder: Path) -> None:
    assert [line.step for line in step_lines(uri(folder, "zero 3"))] == [1, 2, 3, 4, 5, 6]
