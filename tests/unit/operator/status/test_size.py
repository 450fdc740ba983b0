"""Another number of nodes is held against the rules, not against those that the run has outlived."""

from typing import Any

import pytest

from deepseek_operator.status.size import Patience, size_of
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.memory_rules import INSUFFICIENT_MEMORY
from deepseek_workloads.plan.rules import check_training
from deepseek_workloads.plan.size_rules import run_of_size


@pytest.fixture
def outdated(run: TrainingRun) -> TrainingRun:
    """Of an older operator: with a setting that is refused today."""
    evaluation = run.evaluation.model_copy(update={"answers": 5})
    refused = run.model_copy(update={"evaluation": evaluation})
    assert [problem.field for problem in check_training(refused)] == ["spec.evaluation.answers"]
    return refused


def test_what_was_refused_since_the_run_began_does_not_hold_it_at_its_size(
    make_job: Any, outdated: TrainingRun, now: Any
) -> None:
    wanted = outdated.workers.num_nodes * 2
    job = make_job({"workers": {"numNodes": wanted}})
    size = size_of(job, outdated, [], now=now, patience=Patience())
    assert (size.nodes, size.problems) == (wanted, ())


def test_a_number_that_the_rules_refuse_is_named_alone(
    make_job: Any, outdated: TrainingRun, now: Any
) -> None:
    job = make_job({"workers": {"numNodes": outdated.training.global_batch_size + 1}})
    size = size_of(job, outdated, [], now=now, patience=Patience())
    assert size.nodes == outdated.workers.num_nodes
    assert [problem.field for problem in size.problems] == ["spec.training.globalBatchSize"]


@pytest.fixture
def crowded(run: TrainingRun) -> TrainingRun:
    """Of an operator with another estimate: its shards need more memory than its pods have."""
    layout = run.training.parallelism.model_copy(update={"zero_stage": 3})
    training = run.training.model_copy(update={"parallelism": layout})
    workers = run.workers.model_copy(update={"memory_bytes": 2**20})
    refused = run.model_copy(update={"training": training, "workers": workers})
    assert [problem.reason for problem in check_training(refused)] == [INSUFFICIENT_MEMORY]
    return refused


def test_pods_that_need_less_memory_than_now_are_not_refused_for_it(
    make_job: Any, crowded: TrainingRun, now: Any
) -> None:
    wanted = crowded.workers.num_nodes * 2
    job = make_job({"workers": {"numNodes": wanted}})
    size = size_of(job, crowded, [], now=now, patience=Patience())
    assert (size.nodes, size.problems) == (wanted, ())


def test_pods_that_need_more_memory_than_now_are_refused_for_it(
    make_job: Any, crowded: TrainingRun, now: Any
) -> None:
    job = make_job({"workers": {"numNodes": 1}})
    size = size_of(job, crowded, [], now=now, patience=Patience())
    assert size.nodes == crowded.workers.num_nodes
    assert [problem.reason for problem in size.problems] == [INSUFFICIENT_MEMORY]


def test_a_rule_that_was_made_since_hides_no_lack_of_memory(
    make_job: Any, crowded: TrainingRun, now: Any
) -> None:
    evaluation = crowded.evaluation.model_copy(update={"answers": 5})
    job, both = make_job({"workers": {"numNodes": 1}}), crowded.model_copy(update={"evaluation": evaluation})
    assert [problem.field for problem in check_training(both)] == ["spec.evaluation.answers"]
    size = size_of(job, both, [], now=now, patience=Patience())
    assert [problem.reason for problem in size.problems] == [INSUFFICIENT_MEMORY]


def test_nothing_but_the_workers_of_a_run_depends_on_its_size(run: TrainingRun) -> None:
    larger = run_of_size(run, 8)
    assert larger.workers.num_nodes == 8
    assert larger.model_copy(update={"workers": run.workers}) == run
    assert run_of_size(larger, run.workers.num_nodes) == run
