"""A teacher's most probable tokens, computed once and stored: what is learnt, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import (
    VOCABULARY,
    MonitorAt,
    cut_into_documents,
    final_curve,
    metric_lines,
    run_config,
    train_alone,
    train_group,
    write_dataset,
)

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Control, Verdict
from deepseek_workloads.contract.run_config import Storage, TrainingRun
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.launch.preflight import preflight
from deepseek_workloads.store.interface import ObjectChanged
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.distil import OfTeacher, Stored
from deepseek_workloads.train.teacher_logits.__main__ import main

Loss = dict[int, tuple[float, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stored-teacher")


@pytest.fixture(scope="module")
def teacher(folder: Path, dataset: str) -> Verdict:
    return train_alone(run_config(f"file://{folder}/teacher", dataset, steps=24))


def computed(folder: Path, dataset: str, teacher: Verdict, name: str, *more: str) -> str:
    uri = f"file://{folder}/{name}"
    asked = {"--teacher": teacher.uri or "", "--dataset": dataset, "--uri": uri, "--sequence-length": "16"}
    assert main([*(word for pair in asked.items() for word in pair), *more]) == ExitCode.DONE
    return uri


@pytest.fixture(scope="module")
def whole(folder: Path, dataset: str, teacher: Verdict) -> str:
    """Of every token."""
    return computed(folder, dataset, teacher, "whole", "--top-k", str(VOCABULARY))


@pytest.fixture(scope="module")
def few(folder: Path, dataset: str, teacher: Verdict) -> str:
    return computed(folder, dataset, teacher, "few", "--top-k", "4")


def student(folder: Path, dataset: str, name: str, **changes: Any) -> TrainingRun:
    distillation = {"alpha": 0.7, "temperature": 2.0, **changes.pop("distillation")}
    return run_config(f"file://{folder}/{name}", dataset, distillation=distillation, **changes)


def stored(uri: str) -> dict[str, Any]:
    return {"teacher_logits": {"uri": uri}}


def losses(run: TrainingRun) -> Loss:
    """By step of the text, and of the teacher."""
    lines = [line for line in metric_lines(run.storage.uri) if "sampleIds" in line]
    return {line["step"]: (line["loss"], line["distillationLoss"]) for line in lines}


@pytest.fixture(scope="module")
def online(folder: Path, dataset: str, teacher: Verdict) -> Loss:
    run = student(folder, dataset, "online", distillation={"teacher": {"uri": teacher.uri}})
    train_alone(run)
    return losses(run)


def test_with_every_token_it_is_the_teacher_that_runs_beside(
    folder: Path, dataset: str, whole: str, online: Loss
) -> None:
    run = student(folder, dataset, "from-whole", distillation=stored(whole))
    train_alone(run)
    found = losses(run)
    assert found.keys() == online.keys()
    for step, expected in online.items():
        assert found[step] == pytest.approx(expected, abs=2e-5)


def test_with_few_tokens_a_student_still_comes_nearer_to_its_teacher(
    folder: Path, dataset: str, few: str, online: Loss
) -> None:
    run = student(folder, dataset, "from-few", distillation={**stored(few), "alpha": 1.0}, steps=24)
    train_alone(run)
    found = losses(run)
    assert found[24][1] < 0.5 * found[1][1]
    assert found[1][1] / 1.0 < online[1][1] / 0.7, "of few tokens the divergence is a lower bound"


def test_any_number_of_workers_and_a_resumed_run_read_the_same(folder: Path, dataset: str, few: str) -> None:
    def stop(monitor: MonitorAt) -> None:
        monitor.control = Control(generation=1, desired_state="Stopped")

    once, twice, ranks = (
        student(folder, dataset, name, distillation=stored(few), world_size=size)
        for name, size in (("once", 1), ("twice", 1), ("ranks", 2))
    )
    train_alone(once)
    assert train_alone(twice, monitor=MonitorAt(3, stop)).outcome == "Stopped"
    train_alone(twice)
    train_group([ranks], folder / "group")
    assert losses(twice) == losses(once)
    for step, expected in losses(once).items():
        assert losses(ranks)[step] == pytest.approx(expected, abs=2e-5)
    assert final_curve(twice.storage.uri) == final_curve(once.storage.uri)


def test_few_tokens_and_the_rest_are_the_divergence_of_the_coarser_outcomes() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, wanted = (torch.randn(5, 7, dtype=torch.float64, generator=draw) for _ in range(2))
    log_p, log_q = ((each / 2).log_softmax(-1) for each in (wanted, logits))
    values, ids = log_p.topk(3)
    rest = (1 - values.exp().sum(-1)).log()
    found = Stored(ids, values, rest).divergence(slice(0, 5), logits, 2.0)
    p, q = values.exp(), log_q.gather(-1, ids).exp()
    others_p, others_q = 1 - p.sum(-1), 1 - q.sum(-1)
    expected = (p * (p / q).log()).sum(-1) + others_p * (others_p / others_q).log()
    torch.testing.assert_close(found, expected)
    whole = OfTeacher(wanted, torch.eye(7, dtype=torch.float64)).divergence(slice(0, 5), logits, 2.0)
    assert (found <= whole).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 3.0}, "distillation.temperature is 3.0, they were computed with 2.0"),
        ({}, "data source 'rule' has digest sha256:"),
    ],
)
def test_logits_of_something_else_are_refused_by_name_before_any_worker_and_by_the_trainer(
    folder: Path, dataset: str, few: str, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    data = dataset if changes else other_dataset(tmp_path)
    run = student(tmp_path, data, "refused", distillation={**stored(few), **changes})
    messages = [each.message for each in preflight(run, lambda storage: open_store(storage, environ={}))]
    assert any(
        "spec.training.distillation.teacherLogits" in message and words in message for message in messages
    )
    with pytest.raises(DatasetError, match=words):
        train_alone(run)


def other_dataset(folder: Path) -> str:
    """The same tokens, another manifest."""
    uri = write_dataset(folder)
    store = open_store(Storage(uri=uri), environ={})
    store.put(
        "manifest.json", json.dumps({**json.loads(store.read("manifest.json")), "documentsIn": 7}).encode()
    )
    return uri


def test_a_damaged_record_is_never_learnt_from(
    folder: Path, dataset: str, teacher: Verdict, tmp_path: Path
) -> None:
    uri = computed(tmp_path, dataset, teacher, "damaged", "--top-k", "2")
    store = open_store(Storage(uri=uri), environ={})
    (key,) = [info.key for info in store.list("data/") if not info.key.endswith(".index")]
    content = store.read(key)
    store.put(key, bytes(len(content)))
    run = student(tmp_path, dataset, "student", distillation=stored(uri))
    with pytest.raises(ObjectChanged, match=r"the index's, twice: .* again under a fresh prefix"):
        train_alone(run)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = write_dataset(tmp_path_factory.mktemp("documents"))
    cut_into_documents(uri, every=7)
    return uri


def test_a_teacher_keeps_documents_apart_as_its_student_does(
    folder: Path, documents: str, teacher: Verdict
) -> None:
    apart = ("--top-k", str(VOCABULARY), "--document-mask")
    uri = computed(folder, documents, teacher, "apart", *apart)

    def masked(name: str, distillation: dict[str, Any]) -> TrainingRun:
        run = student(folder, documents, name, distillation=distillation)
        return run.model_copy(update={"data": run.data.model_copy(update={"document_mask": True})})

    beside, from_stored = masked("masked", {"teacher": {"uri": teacher.uri}}), masked("taught", stored(uri))
    train_alone(beside)
    train_alone(from_stored)
    expected, found = losses(beside), losses(from_stored)
    assert found.keys() == expected.keys()
    for step, of_step in expected.items():
        assert found[step] == pytest.approx(of_step, abs=2e-5)

    unmasked = student(folder, documents, "mixed", distillation=stored(uri))
    with pytest.raises(DatasetError, match=r"documentMask is false, they were computed with true"):
        train_alone(unmasked)
