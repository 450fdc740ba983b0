"""minNodes is refused where the rules allow none of the numbers that it lets a run go on with."""

import pytest

from deepseek_workloads.contract.run_config import (
    Data,
    Owner,
    Parallelism,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.plan.size_rules import check_min_nodes, run_of_size


def run(*, num_nodes: int, min_nodes: int, tensor_parallel_degree: int = 1) -> TrainingRun:
    storage = Storage(uri="s3://models/tiny")
    parallelism = Parallelism(tensor_parallel_degree=tensor_parallel_degree)
    built = TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=storage)], sequence_length=512),
        training=Training(steps=100, global_batch_size=8, parallelism=parallelism),
        workers=Workers(num_nodes=num_nodes, min_nodes=min_nodes),
        storage=storage,
    )
    assert check_training(built) == []
    return built


@pytest.mark.parametrize(("num_nodes", "min_nodes"), [(4, 2), (4, 1), (8, 3), (2, 1), (4, 4), (1, 1)])
def test_one_smaller_number_that_is_allowed_is_enough(num_nodes: int, min_nodes: int) -> None:
    assert check_min_nodes(run(num_nodes=num_nodes, min_nodes=min_nodes)) == []


@pytest.mark.parametrize(("num_nodes", "min_nodes", "nearest"), [(4, 3, 2), (8, 5, 4), (8, 7, 4)])
def test_the_nearest_number_that_is_allowed_is_offered(num_nodes: int, min_nodes: int, nearest: int) -> None:
    (problem,) = check_min_nodes(run(num_nodes=num_nodes, min_nodes=min_nodes))
    assert (problem.field, problem.value) == ("spec.workers.minNodes", str(min_nodes))
    assert "spec.training.globalBatchSize 8" in problem.rule
    assert f"use at most {nearest}," in problem.remedy
    assert check_min_nodes(run(num_nodes=num_nodes, min_nodes=nearest)) == []


def test_where_no_smaller_number_is_allowed_it_is_to_be_left_away() -> None:
    (problem,) = check_min_nodes(run(num_nodes=4, min_nodes=1, tensor_parallel_degree=4))
    assert "any of 1 to 3" in problem.rule
    assert problem.remedy == "leave minNodes away"


def test_it_is_no_rule_of_a_run_that_was_resized() -> None:
    began = run(num_nodes=8, min_nodes=3)
    assert check_min_nodes(run_of_size(began, 4)) != []
    assert check_training(run_of_size(began, 4)) == []
