"""Passes that are measured before the first step leave the run as it was, but for their size."""

from pathlib import Path
from typing import Any

import pytest
from training_cases import (
    Killed,
    MonitorAt,
    final_curve,
    metric_lines,
    run_config,
    train_alone,
    write_dataset,
)

from deepseek_workloads.contract.messages import Control
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
    monkeypatch.setattr(Reporter, "found_micro_batch_size", lambda _self, found: told.append(found.sequences))

    curve = trained(tmp_path, find_micro_batch_size=True, memory_bytes=memory_bytes)

    assert told == [found]
    for step, (loss, ids) in curve.items():
        assert ids == given[step][1]
        assert loss == pytest.approx(given[step][0], abs=2e-6)


def stop(monitor: MonitorAt) -> None:
    monitor.control = Control(generation=1, desired_state="Stopped")


def test_a_restart_takes_what_was_found_and_one_with_other_memory_measures_anew(tmp_path: Path) -> None:
    dataset, storage = write_dataset(tmp_path), f"file://{tmp_path}/run"

    def start(memory_bytes: int, *, stop_after: int | None = None) -> list[int | None]:
        """What the status of this start is told, each value once."""
        run = run_config(storage, dataset, find_micro_batch_size=True, memory_bytes=memory_bytes)
        monitor = MonitorAt(stop_after or -1, stop)
        verdict = train_alone(run, monitor=monitor)
        assert verdict.outcome == ("Stopped" if stop_after else "Succeeded")
        return list(dict.fromkeys(progress.micro_batch_size for progress in monitor.published))

    roomy, small = 2**40, 2**28
    assert start(roomy, stop_after=1)[-1] == 8
    assert start(roomy, stop_after=3)[-1] == 8
    assert start(small)[-1] == 1
    lines = [line for line in metric_lines(storage) if "microBatchSize" in line]
    assert [(line["epoch"], line["microBatchSize"], line["measured"]) for line in lines] == [
        (1, 8, True),
        (2, 8, False),
        (3, 1, True),
    ]


def kill(_monitor: MonitorAt) -> None:
    raise Killed


def test_a_start_that_was_killed_before_it_wrote_a_checkpoint_has_not_shown_that_its_size_fits(
    tmp_path: Path,
) -> None:
    storage = f"file://{tmp_path}/run"
    settings = {"find_micro_batch_size": True, "memory_bytes": 2**40, "checkpoint_every": 10}
    run = run_config(storage, write_dataset(tmp_path), steps=9, **settings)
    assert train_alone(run, monitor=MonitorAt(1, stop)).outcome == "Stopped"
    with pytest.raises(Killed):
        train_alone(run, monitor=MonitorAt(3, kill))
    assert train_alone(run, monitor=MonitorAt(4, stop)).outcome == "Stopped"
    assert train_alone(run).outcome == "Succeeded"
    lines = [line for line in metric_lines(storage) if "microBatchSize" in line]
    assert {line["epoch"]: line["measured"] for line in lines if line["epoch"] != 2} == {
        1: True,
        3: True,
        4: False,
    }
    assert {line["microBatchSize"] for line in lines} == {8}
