"""Fine-tuning from a teacher's stored tokens: conversations, however they are packed, and however long."""

from pathlib import Path
from typing import Any

import pytest
from conversation_cases import FAR, bucketed, fine_tuning, write_chats
from training_cases import metric_lines, train_alone

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.train.teacher_logits.__main__ import main

STEPS = 3
CUT = 15  # tokens: most of the conversations are longer
Loss = dict[int, tuple[float, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("taught")


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_chats(tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def teacher(folder: Path, chats: str) -> str:
    verdict = train_alone(fine_tuning(folder, chats, "teacher", steps=12, architecture=FAR))
    assert verdict.outcome == "Succeeded", verdict.message
    return verdict.uri or ""


def stored(folder: Path, chats: str, teacher: str, length: int, *more: str) -> dict[str, Any]:
    """Of every token, unless `more` says otherwise."""
    uri = f"file://{folder}/of-{length}"
    words = ["--teacher", teacher, "--dataset", chats, "--uri", uri, "--sequence-length", str(length)]
    assert main([*words, "--objective", "sft", "--top-k", str(FAR.vocab_size), *more]) == ExitCode.DONE
    return {"teacher_logits": {"uri": uri}}


@pytest.fixture(scope="module")
def of_rows(folder: Path, chats: str, teacher: str) -> dict[str, Any]:
    return stored(folder, chats, teacher, 63)


@pytest.fixture(scope="module")
def of_cut(folder: Path, chats: str, teacher: str) -> dict[str, Any]:
    return stored(folder, chats, teacher, CUT)


def student(folder: Path, chats: str, name: str, distillation: dict[str, Any], **changes: Any) -> TrainingRun:
    settings = {"steps": STEPS, "architecture": FAR, "micro_batch_size": 4, **changes}
    return fine_tuning(folder, chats, name, distillation={"alpha": 0.7, **distillation}, **settings)


def losses(run: TrainingRun) -> Loss:
    """By step of the text, and of the teacher."""
    assert train_alone(run).outcome == "Succeeded"
    lines = [line for line in metric_lines(run.storage.uri) if "sampleIds" in line]
    return {line["step"]: (line["loss"], line["distillationLoss"]) for line in lines}


def assert_learns_the_same(from_stored: TrainingRun, beside: TrainingRun) -> None:
    expected, found = losses(beside), losses(from_stored)
    assert len(expected) == STEPS
    assert all(of_teacher > 0 for _, of_teacher in expected.values())
    assert found.keys() == expected.keys()
    for step, of_step in expected.items():
        assert found[step] == pytest.approx(of_step, abs=2e-5)


def test_packed_conversations_are_learnt_as_from_the_teacher_that_runs_beside(
    folder: Path, chats: str, teacher: str, of_rows: dict[str, Any]
) -> None:
    assert_learns_the_same(
        student(folder, chats, "packed-stored", of_rows),
        student(folder, chats, "packed-beside", {"teacher": {"uri": teacher}}),
    )


def test_the_same_records_teach_conversations_of_similar_length(
    folder: Path, chats: str, teacher: str, of_rows: dict[str, Any]
) -> None:
    def padded(run: TrainingRun) -> TrainingRun:
        data = bucketed(run).data.model_copy(update={"sequence_length": 63})
        return run.model_copy(update={"data": data})

    assert_learns_the_same(
        padded(student(folder, chats, "padded-stored", of_rows)),
        padded(student(folder, chats, "padded-beside", {"teacher": {"uri": teacher}})),
    )


def cut(run: TrainingRun, policy: str | None = None) -> TrainingRun:
    data = run.data.model_copy(update={"sequence_length": CUT, "long_conversations": policy})
    return run.model_copy(update={"data": data})


def test_of_long_conversations_the_beginning_is_taught(
    folder: Path, chats: str, teacher: str, of_cut: dict[str, Any]
) -> None:
    assert_learns_the_same(
        cut(student(folder, chats, "cut-stored", of_cut)),
        cut(student(folder, chats, "cut-beside", {"teacher": {"uri": teacher}})),
    )


def test_long_conversations_that_are_dropped_leave_the_records_of_the_others_in_their_places(
    folder: Path, chats: str, teacher: str, of_cut: dict[str, Any]
) -> None:
    """The records are of all conversations."""
    from_stored = cut(student(folder, chats, "drop-stored", of_cut), "drop")
    assert_learns_the_same(
        from_stored, cut(student(folder, chats, "drop-beside", {"teacher": {"uri": teacher}}), "drop")
    )
    lines = metric_lines(from_stored.storage.uri)
    (long,) = [line["longConversations"] for line in lines if "longConversations" in line]
    assert long["dropped"]
    assert 0 < long["long"] < long["conversations"]


def test_a_micro_batch_size_is_found_for_stored_logits_too(
    folder: Path, chats: str, of_rows: dict[str, Any]
) -> None:
    changes = {"micro_batch_size": None, "find_micro_batch_size": True, "memory_bytes": 2**34}
    run = student(folder, chats, "found", of_rows, **changes)
    assert len(losses(run)) == STEPS


def test_logits_of_running_text_are_not_taken_for_those_of_conversations(
    folder: Path, chats: str, teacher: str
) -> None:
    uri = f"file://{folder}/running"
    words = ["--teacher", teacher, "--dataset", chats, "--uri", uri, "--sequence-length", "63"]
    assert main([*words, "--top-k", "2"]) == ExitCode.DONE
    run = student(folder, chats, "refused", {"teacher_logits": {"uri": uri}})
    with pytest.raises(DatasetError, match=r"objective is sft, they were computed with pretrain"):
        train_alone(run)
