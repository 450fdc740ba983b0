"""In the warm-up of an indexer all else stays as it is: what would change it is refused."""

from typing import Any

import pytest

from deepseek_workloads.contract.run_config import (
    Data,
    InitialExport,
    Owner,
    Source,
    Storage,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.architecture import resolve
from deepseek_workloads.plan.rules import check_training

STORAGE = Storage(uri="s3://models/tiny")
INDEXER = "model.layers.*.self_attn.indexer.*"
# Each with the end of the field that is refused, and what of its remedy shows the way.
ENDS_AT_ONCE: list[tuple[dict[str, Any], str]] = [
    ({"lora": {}}, "training.lora"),
    ({"loss_function": "my.code:loss"}, "training.lossFunction"),
    ({"consolidation": {"source": "docs"}}, "training.consolidation"),
]
IN_VAIN: list[tuple[dict[str, Any], str]] = [
    ({"distillation": {"teacher": {"uri": "s3://models/large"}}}, "training.distillation"),
    ({"distillation": {"teacher_logits": {"uri": "s3://data/taught"}}}, "training.distillation"),
    ({"pruning": {"sparsity": 0.5, "at_step": 5}}, "training.pruning"),
    ({"quantisation": {}}, "training.quantisation.modules"),
    ({"quantisation": {"mode": "postTraining"}}, "training.quantisation.modules"),
    ({"quantisation": {"modules": [INDEXER, "lm_head"]}}, "training.quantisation.modules"),
]


def run(stage: str, *, loss_weight: float = 1.0, **training: Any) -> TrainingRun:
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=resolve("deepseek-v3-tiny", {"indexer": {"stage": stage, "lossWeight": loss_weight}}),
        init_from=InitialExport(uri="s3://models/dense"),
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=512),
        training=Training.model_validate({"steps": 100, "global_batch_size": 8, **training}),
        workers=Workers(num_nodes=2, memory_bytes=2**34),
        storage=STORAGE,
    )


@pytest.mark.parametrize(("training", "field"), [*ENDS_AT_ONCE, *IN_VAIN])
def test_what_trains_or_changes_the_model_is_refused_in_the_warm_up_and_goes_with_the_stage_after_it(
    training: dict[str, Any], field: str
) -> None:
    assert check_training(run("sparse", **training)) == []
    (problem,) = check_training(run("warmup", **training))
    assert (problem.field, problem.reason) == (f"spec.{field}", "InvalidTraining")
    assert "spec.model.architecture.indexer.stage warmup" in problem.rule
    assert "stage sparse" in problem.remedy


@pytest.mark.parametrize(("training", "field"), ENDS_AT_ONCE)
def test_what_ends_a_run_before_its_first_step_is_refused_however_often_it_starts(
    training: dict[str, Any], field: str
) -> None:
    (problem,) = check_training(run("warmup", **training), begun=True)
    assert problem.field == f"spec.{field}"


@pytest.mark.parametrize(("training", "_field"), IN_VAIN)
def test_a_run_that_has_begun_with_what_changes_nothing_it_learns_goes_on(
    training: dict[str, Any], _field: str
) -> None:
    assert check_training(run("warmup", **training), begun=True) == []


@pytest.mark.parametrize("mode", ["aware", "postTraining"])
def test_the_indexers_own_matrices_may_be_rounded_while_it_learns(mode: str) -> None:
    assert check_training(run("warmup", quantisation={"mode": mode, "modules": [INDEXER]})) == []


def test_matrices_that_would_be_rounded_beside_the_indexers_are_named() -> None:
    (problem,) = check_training(run("warmup", quantisation={"modules": [INDEXER, "lm_head"]}))
    assert problem.value == f"{INDEXER}, lm_head"
    assert "1 others would be rounded, the first is lm_head" in problem.rule
    assert f"use {INDEXER}" in problem.remedy


def test_an_indexer_that_would_learn_nothing_is_refused_where_nothing_else_learns() -> None:
    assert check_training(run("sparse", loss_weight=0.0)) == []
    assert check_training(run("warmup", loss_weight=1e-3)) == []
    assert check_training(run("warmup", loss_weight=0.0), begun=True) == []
    (problem,) = check_training(run("warmup", loss_weight=0.0))
    assert (problem.field, problem.value) == ("spec.model.architecture.indexer.lossWeight", "0")
    assert problem.remedy == "use 1, or leave it away"


@pytest.mark.parametrize("own", ["model_function", "entrypoint"])
def test_of_a_users_own_model_or_loop_only_their_own_rules_speak(own: str) -> None:
    given = run("warmup", loss_weight=0.0)
    if own == "model_function":
        changes: dict[str, Any] = {"model_function": "my.code:build"}
    else:
        changes = {"training": given.training.model_copy(update={"entrypoint": "my.code:train"})}
    problems = check_training(given.model_copy(update={**changes, "init_from": None}))
    assert problems == []
