"""Held-out figures are those of one process in every layout, accuracy among them."""

from typing import Any

import pytest
from cases import Measured, measured, measured_without_a_call_of_the_head
from rank_pool import RankPool
from training_cases import write_dataset

from deepseek_workloads.contract.run_config import Parallelism

LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "replicas": (2, {"zero_stage": 0}),
    "shards": (2, {"zero_stage": 3}),
    "tensor slices": (2, {"tensor_parallel_degree": 2}),
    "shared sequences": (2, {"context_parallel_degree": 2}),
    "stages": (2, {"pipeline_parallel_degree": 2}),
    "stages of shards": (4, {"pipeline_parallel_degree": 2, "zero_stage": 3}),
    "stages of shared sequences": (4, {"pipeline_parallel_degree": 2, "context_parallel_degree": 2}),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(pool: RankPool, dataset: str) -> dict[str, float]:
    found: dict[str, float] = pool.run(measured, ranks=1, argument=Measured(dataset))
    assert 0 < found["accuracy"] < 1
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_figures_are_those_of_one_process(
    pool: RankPool, dataset: str, alone: dict[str, float], layout: str
) -> None:
    ranks, degrees = LAYOUTS[layout]
    found = pool.run(measured, ranks=ranks, argument=Measured(dataset, Parallelism(**degrees)))
    assert found == pytest.approx(alone, rel=1e-9)


def test_an_accuracy_without_a_call_of_the_head_is_an_error_and_not_0(pool: RankPool, dataset: str) -> None:
    with pytest.raises(AssertionError, match="without a call of its lm_head, of which the accuracy is"):
        pool.run(measured_without_a_call_of_the_head, ranks=1, argument=Measured(dataset))
