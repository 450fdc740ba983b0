"""The command that computes a teacher's logits: several processes, kills, and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from training_cases import Killed, KillingStore, run_config, train_alone, write_dataset

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.teacher_logits.__main__ import main, run
from deepseek_workloads.train.teacher_logits.arguments import parse

WINDOWS, LENGTH, TOP_K = 383, 16, 4
PART_BYTES = 100 * LENGTH * (8 * TOP_K + 4)  # of 100 windows
PARTS = math.ceil(WINDOWS / 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teacher-logits")


@pytest.fixture(scope="module")
def teacher(folder: Path, dataset: str) -> str:
    return train_alone(run_config(f"file://{folder}/teacher", dataset, steps=4)).uri or ""


def words(folder: Path, dataset: str, teacher: str, name: str, *more: str) -> list[str]:
    asked = {
        "--teacher": teacher,
        "--dataset": dataset,
        "--uri": f"file://{folder}/{name}",
        "--sequence-length": str(LENGTH),
        "--top-k": str(TOP_K),
        "--part-bytes": str(PART_BYTES),
    }
    return [*(word for pair in asked.items() for word in pair), *more]


@pytest.fixture(scope="module")
def undisturbed(folder: Path, dataset: str, teacher: str) -> object:
    """The digest that one process arrives at."""
    return run(parse(words(folder, dataset, teacher, "undisturbed")))["digest"]


def files(folder: Path, name: str, below: str = "data/") -> list[str]:
    store = open_store(Storage(uri=f"file://{folder}/{name}"), environ={})
    return [info.key for info in store.list(below) if not info.key.endswith(".index")]


def test_the_process_that_ends_last_publishes_what_one_alone_would(
    folder: Path, dataset: str, teacher: str, undisturbed: object
) -> None:
    """They need not run at the same time."""
    ranks = [
        parse(words(folder, dataset, teacher, "ranks"), {"RANK": str(rank), "WORLD_SIZE": "3"})
        for rank in (2, 0, 1)
    ]
    told = [run(asked) for asked in ranks]
    assert [each.get("missingParts") for each in told] == [3, 1, None]
    assert told[-1]["digest"] == undisturbed
    assert len(files(folder, "undisturbed")) == len(files(folder, "ranks")) == PARTS


def test_killed_at_any_request_and_started_again_it_arrives_at_the_same(
    tmp_path: Path, dataset: str, teacher: str, undisturbed: object
) -> None:
    at, kept = 0, set()
    while True:
        asked = parse(words(tmp_path, dataset, teacher, f"killed-{at}"))
        killed, stores = False, []

        def opened(storage: Storage, at: int = at, uri: str = asked.uri, stores: Any = stores) -> ObjectStore:
            store = open_store(storage, environ={})
            if storage.uri != uri:
                return store
            stores.append(KillingStore(store, at=at, after=at % 2 == 1))
            return stores[-1]

        try:
            run(asked, opened)
        except Killed:
            killed = True
        finished = files(tmp_path, f"killed-{at}", "parts/")
        written = {key: modified(tmp_path, f"killed-{at}", key) for key in finished}
        assert run(asked)["digest"] == undisturbed
        assert {key: modified(tmp_path, f"killed-{at}", key) for key in finished} == written
        kept.add(len(finished))
        if not killed:
            break
        at += 1
    assert kept == set(range(PARTS + 1)), "no kill came between two of the parts"


def modified(folder: Path, name: str, key: str) -> int:
    return (folder / name / key).stat().st_mtime_ns


def test_a_finished_part_that_was_damaged_is_computed_again(
    tmp_path: Path, dataset: str, teacher: str, undisturbed: object, capsys: pytest.CaptureFixture[str]
) -> None:
    run(parse(words(tmp_path, dataset, teacher, "damaged")))
    store = open_store(Storage(uri=f"file://{tmp_path}/damaged"), environ={})
    store.delete(["teacher-logits.json"])
    first, second, *_ = files(tmp_path, "damaged")
    content = bytearray(store.read(first))
    content[-1] ^= 1
    store.put(first, bytes(content))
    store.delete([second])
    capsys.readouterr()
    assert run(parse(words(tmp_path, dataset, teacher, "damaged")))["digest"] == undisturbed
    said = capsys.readouterr().err
    assert said.count("its file is damaged or gone: computed again") == 2
    assert f"{PARTS - 2} of {PARTS} parts were finished before, and are kept" in said


def test_the_process_that_ends_last_publishes_no_damaged_part_of_another(
    tmp_path: Path, dataset: str, teacher: str, undisturbed: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its size is as it was."""
    first, last = (
        parse(words(tmp_path, dataset, teacher, "shared"), {"RANK": rank, "WORLD_SIZE": "2"}) for rank in "01"
    )
    assert run(first)["missingParts"] == PARTS // 2
    store = open_store(Storage(uri=f"file://{tmp_path}/shared"), environ={})
    damaged, *_ = files(tmp_path, "shared")
    intact = store.read(damaged)
    store.put(damaged, bytes(len(intact)))
    capsys.readouterr()

    assert run(last)["digest"] == undisturbed

    assert store.read(damaged) == intact
    assert capsys.readouterr().err.count("its file is damaged or gone: computed again") == 1


def test_what_is_published_is_told_again_and_never_replaced(
    folder: Path,
    dataset: str,
    teacher: str,
    undisturbed: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(folder, dataset, teacher, "undisturbed")) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["digest"] == undisturbed
    other = words(folder, dataset, teacher, "undisturbed", "--temperature", "3")
    assert main(other) == ExitCode.BAD_INPUT
    assert "never overwritten: name a fresh prefix" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--top-k", "65"), "--top-k 65: must be 1 to the teacher's 64 tokens"),
        (("--sequence-length", "65"), "--sequence-length 65: must be 2 to 64"),
        (("--objective", "sft"), "plain text: training.objective sft learns the answers of conversations"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(
    folder: Path, dataset: str, teacher: str, capsys: pytest.CaptureFixture[str], more: Any, said: str
) -> None:
    assert main(words(folder, dataset, teacher, "refused", *more)) == ExitCode.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not files(folder, "refused", "")


def test_a_folder_without_a_manifest_is_refused_with_what_takes_it(
    folder: Path, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, dataset, f"file://{folder}/nothing", "refused")) == ExitCode.BAD_INPUT
    told = capsys.readouterr().err
    assert "--teacher" in told
    assert "manifest.json" in told
    assert "name it in training.distillation.teacher" in told
    assert not files(folder, "refused", "")


def test_a_dataset_of_another_tokenizer_is_refused(
    tmp_path: Path, teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(words(tmp_path, write_dataset(tmp_path, vocabulary=65), teacher, "other")) == ExitCode.BAD_INPUT
    )
    assert "prepared with the teacher's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--rank", "2", "--world-size", "2"), "--rank 2: must be 0 to 1"),
        (("--temperature", "0"), "--temperature 0: must be a finite number above 0"),
        (("--objective", "sft", "--document-mask"), "--document-mask: is of running text"),
    ],
)
def test_words_that_contradict_each_other_are_refused(
    capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit):
        parse(words(Path(), "d", "t", "u", *more), {})
    assert said in capsys.readouterr().err
