"""Traces of chosen steps, whatever way the steps go."""

from pathlib import Path

import pytest
import torch

from deepseek_workloads.contract.monitoring import Profile
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.train.watch.profiler import StepProfiler


@pytest.mark.parametrize(
    ("steps", "written"),
    [
        ([1, 2, 3, 4], ["steps-00000002-00000003"]),
        ([1, 2, 2, 3], ["steps-00000002-00000003"]),
        ([1, 2, 1, 2, 3], ["steps-00000002-00000003"]),
        ([2, 3, 1, 2, 3], ["steps-00000002-00000003"]),
        ([1, 2], ["steps-00000002-00000002"]),
        ([1], []),
    ],
    ids=[
        "in order",
        "rolled back to its start",
        "rolled back before it",
        "again",
        "cut short",
        "not reached",
    ],
)
def test_a_trace_is_of_its_steps_also_after_a_rollback_or_an_early_end(
    steps: list[int], written: list[str], tmp_path: Path
) -> None:
    store, warnings = FileObjectStore(tmp_path), list[str]()
    profiler = StepProfiler(
        Profile(from_step=2, steps=2), store, epoch=1, device_type="cpu", warn=warnings.append
    )
    for number in steps:
        with profiler.step(number):
            torch.ones(2).sum()
    profiler.close()
    assert [info.key for info in store.list("runs/")] == [
        f"runs/00000001/profile/{name}.json.gz" for name in written
    ]
    assert warnings == []
