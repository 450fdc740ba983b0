"""Preparation as Ray tasks: the same dataset as in this process, errors with their own types."""

import functools
from pathlib import Path

import pytest
import ray

from deepseek_workloads.contract.run_config import (
    DatasetRun,
    Owner,
    RawSource,
    Storage,
    TokenizerTraining,
    Workers,
)
from deepseek_workloads.data.prepare.executor import Executor, LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.launch.ray_prepare import RayExecutor
from deepseek_workloads.store.interface import ObjectChanged
from deepseek_workloads.store.open import open_store

ROOTS = [str(Path(__file__).parents[3] / "workloads"), str(Path(__file__).parent)]


@pytest.fixture(scope="module")
def executor():
    environment = {"env_vars": {"PYTHONPATH": ":".join(ROOTS), "OMP_NUM_THREADS": "1"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else a token is written to the home folder
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        yield RayExecutor()
        ray.shutdown()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(80):
        (folder / f"{number:02d}.txt").write_text(
            f"Document {number} is a number, {number * 31} another.\n" * 9
        )
    return folder


def _prepare(raw: Path, executor: Executor, out: str):
    run = DatasetRun(
        owner=Owner(namespace="n", name="d", uid="u"),
        raw_sources=[RawSource(name="raw", uri=f"file://{raw}")],
        raw_storage=Storage(uri=f"file://{raw}"),
        tokenizer=TokenizerTraining(vocab_size=300),
        held_out_fraction=0.1,
        workers=Workers(num_nodes=1),
        storage=Storage(uri=f"file://{raw.parent}/{out}"),
    )
    reports = []
    verdict = prepare(run, open_store=open_store, executor=executor, report=reports.append)
    assert verdict.outcome == "Succeeded", verdict
    return verdict.digest, reports[-1]


def test_ray_makes_the_same_dataset(executor, raw) -> None:
    over_ray, progress = _prepare(raw, executor, "ray")
    assert over_ray == _prepare(raw, LocalExecutor(), "local")[0]
    assert all(stage.done == stage.total for stage in progress.stages)
    assert progress.stages[0].total > 1


def test_an_error_of_a_task_keeps_its_type(executor) -> None:
    def fail(reason: str, _item: int) -> None:
        raise ObjectChanged(reason)

    with pytest.raises(ObjectChanged, match="was overwritten"):
        list(executor.run(functools.partial(fail, "it was overwritten"), [1, 2]))


def test_more_items_than_cpus_all_come_back(executor) -> None:
    assert sorted(executor.run(functools.partial(pow, 2), list(range(20)))) == [2**n for n in range(20)]
