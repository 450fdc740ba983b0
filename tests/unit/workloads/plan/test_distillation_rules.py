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


def test_they_go_with_pretraining() -> None:
    assert check_training(run(STORED)) == []


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"objective": "sft"}, "objective"),
        ({"curriculum": [{"until_step": 10, "sequence_length": 128}]}, "curriculum"),
        ({"find_micro_batch_size": True}, "findMicroBatchSize"),
    ],
)
def test_what_reads_other_rows_is_refused_with_them_and_not_with_a_teacher(
    training: dict[str, object], field: str
) -> None:
    assert check_training(run(BESIDE, **training)) == []
    (problem,) = check_training(run(STORED, **training))
    assert problem.field == f"spec.training.{field}"
    assert "spec.training.distillation.teacherLogits" in problem.rule
    assert "use distillation.teacher" in problem.remedy


@pytest.mark.parametrize(
    "given", [Distillation(), Distillation(teacher=BESIDE.teacher, teacher_logits=STORED.teacher_logits)]
)
def test_there_is_exactly_one_teacher(given: Distillation) -> None:
    (problem,) = check_training(run(given))
    assert (problem.field, problem.reason) == ("spec.training.distillation", "InvalidTraining")


def test_documents_that_a_teacher_did_not_keep_apart_are_refused_with_its_logits() -> None:
    masked = run(STORED).data.model_copy(update={"document_mask": True})
    (problem,) = check_training(run(STORED).model_copy(update={"data": masked}))
    assert problem.field == "spec.data.documentMask"
    assert check_training(run(BESIDE).model_copy(update={"data": masked})) == []
