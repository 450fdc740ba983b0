"""Passes that are measured before the first step leave the run as it was, but for their size."""

from pathlib import Path
from typing import Any

import pytest
from training_cases import final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.train.reporting import Reporter


def trained(folder: Path, **changes: Any) -> dict[int, Any]:
    run = run_config(f"file://{folder}/run", write_dataset(folder), **changes)
    assert train_alone(run).outcome == "Succeeded"
    return final_curve(run.storage.uri)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    return trained(tmp_path_factory.mktemp("given"), micro_batch_size=2)


@pytest.mark.parametrize(("memory_bytes", "found"), [(2**40, 8), (2**28, 1)], ids=["roomy", "too small"])
def test_the_size_of_the_passes_is_found_and_the_curve_is_the_same(
    tmp_path: Path, given: dict[int, Any], monkeypatch: pytest.MonkeyPatch, memory_bytes: int, found: int
) -> None:
    told: list[int] = []
    monkeypatch.setattr(Reporter, "found_micro_batch_size", lambda _self, sequences: told.append(sequences))

    curve = trained(tmp_path, find_micro_batch_size=True, memory_bytes=memory_bytes)

    assert told == [found]
    for step, (loss, ids) in curve.items():
        assert ids == given[step][1]
        assert loss == pytest.approx(given[step][0], abs=2e-6)
