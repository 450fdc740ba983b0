"""Layers are compiled where they can be; `always` is refused where they cannot."""

import pytest

from deepseek_workloads.contract.architecture import Dropout
from deepseek_workloads.contract.optimization import PrecisionOverride
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
from deepseek_workloads.plan.compile_rules import COMPILE_FIELD, is_compiled
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_training

STORAGE = Storage(uri="s3://models/tiny")


def run(compile: str | None, **changes: object) -> TrainingRun:
    return TrainingRun(
        owner=Owner(namespace="research", name="tiny", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=512),
        training=Training(steps=100, global_batch_size=8, compile=compile, **changes),
        workers=Workers(num_nodes=2),
        storage=STORAGE,
    )


def dropping(compile: str | None) -> TrainingRun:
    base = run(compile)
    return base.model_copy(
        update={"architecture": base.architecture.model_copy(update={"dropout": Dropout(residual=0.1)})}
    )


IN_THE_WAY = {
    "tensorParallelDegree": {"parallelism": Parallelism(tensor_parallel_degree=2)},
    "contextParallelDegree": {"parallelism": Parallelism(context_parallel_degree=2)},
    "pipelineParallelDegree": {"parallelism": Parallelism(pipeline_parallel_degree=2)},
    "entrypoint": {"entrypoint": "mine:train"},
    "precisionOverrides": {
        "precision_overrides": [PrecisionOverride(modules="model.layers.0", precision="fp32")],
        "precision": "bf16",
    },
    "activationCheckpointing selective": {
        "parallelism": Parallelism(expert_parallel_degree=2),
        "activation_checkpointing": "selective",
    },
}


@pytest.mark.parametrize(
    ("wanted", "on_gpus", "on_cpus"), [("auto", True, False), ("always", True, True), (None, False, False)]
)
def test_auto_is_for_gpus_and_always_for_all(wanted: str | None, on_gpus: bool, on_cpus: bool) -> None:
    assert is_compiled(run(wanted), gpu=True) == on_gpus
    assert is_compiled(run(wanted), gpu=False) == on_cpus


@pytest.mark.parametrize(("name", "changes"), IN_THE_WAY.items(), ids=IN_THE_WAY)
def test_what_is_in_the_way_is_named_and_auto_does_without(name: str, changes: dict[str, object]) -> None:
    refused = [p for p in check_training(run("always", **changes)) if p.field == COMPILE_FIELD]
    assert [name in problem.rule for problem in refused] == [True]
    assert not is_compiled(run("auto", **changes), gpu=True)
    assert COMPILE_FIELD not in [p.field for p in check_training(run("auto", **changes))]


def test_masks_of_dropout_would_be_compiled_anew_in_each_step() -> None:
    refused = [p for p in check_training(dropping("always")) if p.field == COMPILE_FIELD]
    assert ["dropout" in problem.rule for problem in refused] == [True]
    assert not is_compiled(dropping("auto"), gpu=True)


@pytest.mark.parametrize(
    ("training", "data", "name"),
    [({"objective": "sft"}, {}, "objective sft"), ({}, {"document_mask": True}, "data.documentMask")],
)
def test_documents_that_are_kept_apart_would_be_compiled_anew_in_each_batch(
    training: dict[str, object], data: dict[str, object], name: str
) -> None:
    base = run("always", **training)
    masked = base.model_copy(update={"data": base.data.model_copy(update=data)})
    refused = [problem for problem in check_training(masked) if problem.field == COMPILE_FIELD]
    assert [name in problem.rule for problem in refused] == [True]
    padded = masked.model_copy(
        update={"data": masked.data.model_copy(update={"packing": "bucketed", "document_mask": None})}
    )
    assert COMPILE_FIELD not in [problem.field for problem in check_training(padded)]


def test_a_model_of_the_users_own_is_compiled_in_its_function() -> None:
    own = run("always").model_copy(update={"model_function": "mine:model"})
    assert ["spec.model.function" in p.rule for p in check_training(own) if p.field == COMPILE_FIELD] == [
        True
    ]


@pytest.mark.parametrize("degree", [1, 2])
def test_replicas_shards_and_shared_experts_are_compiled(degree: int) -> None:
    parallelism = Parallelism(zero_stage=3, expert_parallel_degree=degree)
    found = run("always", parallelism=parallelism, activation_checkpointing="full")
    assert COMPILE_FIELD not in [problem.field for problem in check_training(found)]
