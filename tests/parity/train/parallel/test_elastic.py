"""A run may go on in another layout, on another number of processes: the same samples, the same losses.

These are whole runs: checkpoints, evaluations, continued prompts and the export are part of each. float32, so
sums in another order show in the last digits.
"""

from pathlib import Path
from typing import Any

import pytest
from cases import train_run
from rank_pool import RankPool
from training_cases import final_curve, rewound, run_config, samples, write_dataset

from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.export.load import load_export
from deepseek_workloads.store.open import open_store

LOSS_TOLERANCE = 5e-6  # nats
STEPS, BREAK = 6, 4

PIPELINE = {"pipeline_parallel_degree": 2}
TENSOR = {"zero_stage": 3, "tensor_parallel_degree": 2, "expert_parallel_degree": 2}
CONTEXT = {"context_parallel_degree": 2, "zero_stage": 1}
EXPERTS = {"zero_stage": 2, "expert_parallel_degree": 4, "data_parallel_replicate_degree": 1}

# By name: processes, degrees, and the run whose checkpoint of step BREAK is continued.
RUNS: dict[str, tuple[int, dict[str, Any], str | None]] = {
    "alone": (1, {}, None),
    "pipeline": (2, PIPELINE, None),
    "tensor": (4, TENSOR, None),
    "pipeline to tensor": (4, TENSOR, "pipeline"),
    "tensor to pipeline": (2, PIPELINE, "tensor"),
    "alone to context": (2, CONTEXT, "alone"),
    "tensor to experts": (4, EXPERTS, "tensor"),
    "tensor to alone": (1, {}, "tensor"),
    "alone, from an export": (1, {}, None),
    "pipeline, from an export": (2, PIPELINE, None),
}
STARTED = ("alone, from an export", "pipeline, from an export")  # from the export of "alone"
SLOW = {"tensor to pipeline", "alone to context", "tensor to experts"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elastic")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    return write_dataset(folder)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return {}


def trained(name: str, pool: RankPool, folder: Path, dataset: str, done: dict[str, Verdict]) -> Verdict:
    """Each run once, and those that it continues before it."""
    if name in done:
        return done[name]
    ranks, degrees, before = RUNS[name]
    if before is not None:
        trained(before, pool, folder, dataset, done)
        rewound(uri(folder, before), uri(folder, name), to_step=BREAK)
    changes = {}
    if name in STARTED:
        export = trained("alone", pool, folder, dataset, done)
        changes = {"init_from": {"uri": export.uri, "digest": export.digest}}
    run = run_config(
        uri(folder, name),
        dataset,
        world_size=ranks,
        steps=STEPS,
        checkpoint_every=2,
        parallelism=degrees,
        **changes,
    )
    document = pool.run(train_run, ranks=ranks, argument=run.to_json())
    done[name] = Verdict.model_validate_json(document)
    return done[name]


def uri(folder: Path, name: str) -> str:
    return f"file://{folder}/{name.replace(' ', '-')}"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n
        for n in RUNS
        if n != "alone" and n not in STARTED
    ],
)
def test_a_run_in_any_layout_is_that_of_one_process(
    name: str, pool: RankPool, folder: Path, dataset: str, verdicts: dict[str, Verdict]
) -> None:
    alone, found = (trained(n, pool, folder, dataset, verdicts) for n in ("alone", name))
    expected, curve = (final_curve(uri(folder, n)) for n in ("alone", name))

    assert found.outcome == "Succeeded"
    assert list(curve) == list(range(BREAK + 1 if RUNS[name][2] else 1, STEPS + 1))
    for step, (loss, ids) in curve.items():
        assert ids == expected[step][1], step
        assert loss == pytest.approx(expected[step][0], abs=LOSS_TOLERANCE), step
    held_out = alone.evaluation["held_out_loss"]
    assert found.evaluation["held_out_loss"] == pytest.approx(held_out, abs=LOSS_TOLERANCE)
    assert samples(uri(folder, name)) == samples(uri(folder, "alone"))


def test_stages_begin_with_the_weights_of_an_export(
    pool: RankPool, folder: Path, dataset: str, verdicts: dict[str, Verdict]
) -> None:
    for name in STARTED:
        assert trained(name, pool, folder, dataset, verdicts).outcome == "Succeeded"
    fresh, alone, pipeline = (final_curve(uri(folder, name)) for name in ("alone", *STARTED))
    assert alone[1][0] < fresh[1][0] - 0.01, "it has learnt before"
    for step, (loss, ids) in alone.items():
        assert pipeline[step][1] == ids
        assert pipeline[step][0] == pytest.approx(loss, abs=LOSS_TOLERANCE)


@pytest.mark.parametrize("name", ["pipeline", "tensor"])
def test_the_export_has_every_weight_whole(
    name: str, pool: RankPool, folder: Path, dataset: str, verdicts: dict[str, Verdict]
) -> None:
    expected, found = (
        load_export(
            open_store(Storage(uri=uri(folder, n)), environ={}),
            trained(n, pool, folder, dataset, verdicts).digest,
        ).model.state_dict()
        for n in ("alone", name)
    )

    assert found.keys() == expected.keys()
    for tensor in expected:
        assert (found[tensor] - expected[tensor]).abs().max() < 1e-4, tensor
