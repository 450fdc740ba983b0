"""What a run whose model is a user's own may ask for."""

import pytest

from deepseek_workloads.contract.objective import Lora, Pruning, Quantisation
from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.contract.run_config import (
    Data,
    Distillation,
    InitialExport,
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

STORAGE = Storage(uri="s3://models/tiny")
EXPORT = InitialExport(uri="s3://models/large")


def run(**training: object) -> TrainingRun:
    return TrainingRun(
        owner=Owner(namespace="research", name="own", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        model_function="own.code:build",
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=512),
        training=Training.model_validate({"steps": 100, "global_batch_size": 8, **training}),
        workers=Workers(num_nodes=4),
        storage=STORAGE,
    )


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"parallelism": {"zero_stage": 0}},
        {"parallelism": {"zero_stage": 3, "data_parallel_replicate_degree": 2}},
        {"activation_checkpointing": "full", "precision": "bf16"},
        {"optimizer": {"name": "muon", "function": "own.code:optimizer"}},
        {"curriculum": [{"until_step": 10, "sequence_length": 128}]},
    ],
)
def test_it_goes_with_what_works_on_any_module(training: dict[str, object]) -> None:
    assert check_training(run(**training)) == []


@pytest.mark.parametrize(
    "degree", [f"{kind}ParallelDegree" for kind in ("tensor", "pipeline", "context", "expert")]
)
def test_layouts_that_cut_the_model_itself_are_refused(degree: str) -> None:
    problems = check_training(run(parallelism=Parallelism.model_validate({degree: 2})))
    (problem,) = [problem for problem in problems if "spec.model.function" in problem.rule]
    assert (problem.field, problem.value) == (f"spec.training.parallelism.{degree}", "2")
    assert "a zeroStage of 1 to 3" in problem.remedy


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"entrypoint": "own.code:train"}, "entrypoint"),
        ({"loss_function": "own.code:loss"}, "lossFunction"),
        ({"objective": "sft"}, "objective"),
        ({"precision": "fp8"}, "precision"),
        ({"optimizer": Optimizer(name="muon")}, "optimizer.name"),
        ({"lora": Lora()}, "lora"),
        ({"quantisation": Quantisation()}, "quantisation"),
        ({"pruning": Pruning(sparsity=0.5, at_step=1)}, "pruning"),
        ({"distillation": Distillation(teacher=EXPORT)}, "distillation"),
        ({"precision_overrides": [{"modules": "model.layers.0", "precision": "fp32"}]}, "precisionOverrides"),
        ({"find_micro_batch_size": True}, "findMicroBatchSize"),
    ],
)
def test_what_needs_the_built_in_model_is_refused_by_its_field(
    training: dict[str, object], field: str
) -> None:
    problems = check_training(run(**training))
    assert [
        problem
        for problem in problems
        if problem.field == f"spec.training.{field}"
        and "spec.model.function 'own.code:build'" in problem.rule
    ]


def test_weights_of_an_export_are_not_those_of_its_model() -> None:
    (problem,) = check_training(run().model_copy(update={"init_from": EXPORT}))
    assert problem.field == "spec.model.initFrom"


def test_memory_that_the_preset_would_not_fit_refuses_nothing() -> None:
    little = Workers(num_nodes=2, memory_bytes=2**20)
    sized = run().model_copy(update={"workers": little})
    assert check_training(sized) == []
    assert check_training(sized.model_copy(update={"model_function": None})) != []
