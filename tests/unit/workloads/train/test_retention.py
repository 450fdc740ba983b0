"""Which checkpoints are retired, and in which order log and files change."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.records import CheckpointRecord, FileEntry
from deepseek_workloads.contract.retention import KeepBest, Retention
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import NotFound
from deepseek_workloads.store.log import (
    CheckpointEntry,
    CommitLog,
    Fenced,
    LogEntry,
    Writer,
    live_checkpoints,
)
from deepseek_workloads.train.retention import attempt_name, remove_orphans, retire, to_retire

UNIQUE = "00000000-0000-0000-0000-{:012d}"


def entry(
    index: int, *, step: int, reason: str = "schedule", metrics: dict[str, float] | None = None
) -> LogEntry:
    fields = {"epoch": 1, "writer": "w", "created_at": "", "consumed_samples": 1, "tokens": 1, "files": []}
    return LogEntry(
        index,
        CheckpointRecord.model_validate(
            {**fields, "step": step, "prefix": "data/x/", "reason": reason, "metrics": metrics or {}}
        ),
    )


@pytest.mark.parametrize(
    ("case", "live", "keep_last", "damaged", "retired"),
    [
        ("fewer than are kept", [2, 3], 3, [], []),
        ("the oldest go", [2, 3, 5, 6], 2, [], [2, 3]),
        ("damaged ones do not count", [2, 3, 5], 2, [5], [5]),
        ("an intact old one is worth more than a damaged new one", [2, 3, 5], 1, [3, 5], [3, 5]),
        ("nothing there", [], 1, [], []),
    ],
)
def test_what_is_retired(
    case: str, live: list[int], keep_last: int, damaged: list[int], retired: list[int]
) -> None:
    log = [entry(index, step=index) for index in live]
    chosen = to_retire(log, wanted=Retention(keep_last=keep_last), damaged=damaged)
    assert [checkpoint.index for checkpoint in chosen] == retired, case


LOSSES = {10: 3.0, 20: 1.0, 30: 2.0, 40: 1.0, 50: None, 60: 4.0}  # by step; one was not measured


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ({"keep_last": 2}, [50, 60]),
        ({"keep_last": 1, "keep_every": 20}, [20, 40, 60]),
        ({"keep_last": 1, "keep_every": 30}, [30, 60]),
        ({"keep_last": 1, "keep_best": {"metric": "loss"}}, [40, 60]),
        ({"keep_last": 1, "keep_best": {"metric": "loss", "count": 3}}, [20, 30, 40, 60]),
        ({"keep_last": 1, "keep_best": {"metric": "loss", "mode": "max", "count": 2}}, [10, 60]),
        ({"keep_last": 1, "keep_best": {"metric": "accuracy", "mode": "max"}}, [60]),
    ],
    ids=str,
)
def test_a_checkpoint_stays_while_something_wants_it(wanted: dict[str, object], kept: list[int]) -> None:
    log = [
        entry(step // 10 + 1, step=step, metrics={} if loss is None else {"loss": loss})
        for step, loss in LOSSES.items()
    ]
    gone = {checkpoint.record.step for checkpoint in to_retire(log, wanted=Retention.model_validate(wanted))}
    assert [step for step in LOSSES if step not in gone] == kept


@given(
    st.lists(st.tuples(st.integers(0, 50), st.one_of(st.none(), st.floats(-9, 9))), min_size=1, max_size=12),
    st.builds(
        Retention,
        keep_last=st.integers(1, 4),
        keep_every=st.one_of(st.none(), st.integers(1, 7)),
        keep_best=st.one_of(
            st.none(),
            st.builds(
                KeepBest,
                metric=st.just("loss"),
                mode=st.sampled_from(["min", "max"]),
                count=st.integers(1, 3),
            ),
        ),
    ),
)
def test_the_newest_ones_always_stay_and_what_stayed_once_is_decided_alike_again(
    checkpoints: list[tuple[int, float | None]], wanted: Retention
) -> None:
    log = [
        entry(index, step=step, metrics={} if loss is None else {"loss": loss})
        for index, (step, loss) in enumerate(checkpoints, start=1)
    ]
    gone = {checkpoint.index for checkpoint in to_retire(log, wanted=wanted)}
    assert not gone & {each.index for each in log[-wanted.keep_last :]}
    left = [each for each in log if each.index not in gone]
    assert not to_retire(left, wanted=wanted)


def test_what_a_rollback_has_given_up_is_retired_and_does_not_count() -> None:
    log = [entry(2, step=5), entry(3, step=10), entry(4, step=20), entry(5, step=10, reason="rollback")]
    assert [checkpoint.index for checkpoint in to_retire(log, wanted=Retention(keep_last=2))] == [3, 4]


def commit(store: FileObjectStore, writer: Writer, number: int) -> CheckpointEntry:
    prefix = f"data/{attempt_name(writer.epoch, UNIQUE.format(number))}/"
    store.put(f"{prefix}x", b"x")
    files = [FileEntry(key=f"{prefix}x", size=1, checksum="")]
    return writer.commit_checkpoint(
        step=number, consumed_samples=number, tokens=number, prefix=prefix, files=files
    )


@pytest.fixture
def store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


def begin(store: FileObjectStore) -> Writer:
    return CommitLog(store).begin_epoch(run_config_digest="")


def test_a_retired_checkpoint_loses_its_files_and_its_place_in_the_log(store: FileObjectStore) -> None:
    writer = begin(store)
    old, new = commit(store, writer, 1), commit(store, writer, 2)
    retire(store, writer, [old])
    assert live_checkpoints(CommitLog(store).records()) == [new]
    with pytest.raises(NotFound):
        store.read(old.record.files[0].key)
    assert store.read(new.record.files[0].key) == b"x"


def test_a_fenced_writer_deletes_nothing(store: FileObjectStore) -> None:
    writer = begin(store)
    old = commit(store, writer, 1)
    begin(store)
    with pytest.raises(Fenced):
        retire(store, writer, [old])
    assert store.read(old.record.files[0].key) == b"x"


def test_orphans_are_what_older_epochs_wrote_and_no_live_record_names(store: FileObjectStore) -> None:
    first = begin(store)
    kept = commit(store, first, 1)
    retired = commit(store, first, 2)
    first.retire([retired.index])  # and killed before the files were deleted
    second = begin(store)
    orphan = f"data/{attempt_name(1, UNIQUE.format(9))}/x"
    own = f"data/{attempt_name(2, UNIQUE.format(9))}/x"
    newer = f"data/{attempt_name(3, UNIQUE.format(9))}/x"
    foreign = "data/0a0a0a0a-0000-0000-0000-000000000000/x"
    for key in (orphan, own, newer, foreign):
        store.put(key, b"x")
    assert remove_orphans(store, epoch=second.epoch, entries=second.entries) == 2
    assert {info.key for info in store.list("data/")} == {kept.record.files[0].key, own, newer, foreign}
