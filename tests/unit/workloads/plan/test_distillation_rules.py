"""What a run that reads stored logits of a teacher may not ask for beside them."""

import pytest

from deepseek_workloads.contract.run_config import (
    Data,
    Distillation,
    InitialExport,
    Owner,
    Source,
    Storage,
    TeacherLogitsLocation,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_training

STORAGE = Storage(uri="s3://models/tiny")
STORED = Distillation(teacher_logits=TeacherLogitsLocation(uri="s3://data/docs/taught"))
BESIDE = Distillation(teacher=InitialExport(uri="s3://models/large"))


def run(distillation: Distillation, **training: object) -> TrainingRun:
    settings = {"steps": 100, "global_batch_size": 8, "distillation": distillation, **training}
    return TrainingRun(
        owner=Owner(namespace="research", name="student", uid="u"),
        architecture=PRESETS["deepseek-v3-tiny"],
        data=Data(sources=[Source(name="docs", storage=STORAGE)], sequence_length=512),
        training=Training.model_validate(settings),
        workers=Workers(num_nodes=2, memory_bytes=2**34),
        storage=STORAGE,
    )


@pytest.mark.parametrize("objective", ["pretrain", "sft"])
@pytest.mark.parametrize("find_micro_batch_size", [True, None])
def test_they_go_with_either_objective(objective: str, find_micro_batch_size: bool | None) -> None:
    settings = {"objective": objective, "find_micro_batch_size": find_micro_batch_size}
    assert check_training(run(STORED, **settings)) == []


def test_sequences_that_are_cut_are_refused_with_them_and_not_with_a_teacher() -> None:
    cut = {"curriculum": [{"until_step": 10, "sequence_length": 128}]}
    assert check_training(run(BESIDE, **cut)) == []
    (problem,) = check_training(run(STORED, **cut))
    assert problem.field == "spec.training.curriculum"
    assert "spec.training.distillation.teacherLogits" in problem.rule
    assert "use distillation.teacher" in problem.remedy


@pytest.mark.parametrize(
    "given", [Distillation(), Distillation(teacher=BESIDE.teacher, teacher_logits=STORED.teacher_logits)]
)
def test_there_is_exactly_one_teacher(given: Distillation) -> None:
    (problem,) = check_training(run(given))
    assert (problem.field, problem.reason) == ("spec.training.distillation", "InvalidTraining")


@pytest.mark.parametrize("given", [STORED, BESIDE], ids=["stored", "beside"])
def test_a_teacher_without_a_share_of_the_loss_is_refused_and_the_least_share_is_not(
    given: Distillation,
) -> None:
    assert check_training(run(given.model_copy(update={"alpha": 1e-3}))) == []
    (problem,) = check_training(run(given.model_copy(update={"alpha": 0.0})))
    assert (problem.field, problem.value) == ("spec.training.distillation.alpha", "0")
    assert "leave distillation away" in problem.remedy


def test_they_go_with_documents_that_are_kept_apart() -> None:
    masked = run(STORED).data.model_copy(update={"document_mask": True})
    assert check_training(run(STORED).model_copy(update={"data": masked})) == []
