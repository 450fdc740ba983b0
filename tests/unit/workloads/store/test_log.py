"""The commit log in plain sequences of calls. Interleavings are in test_log_interleavings.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_workloads.contract import layout
from deepseek_workloads.contract.records import CheckpointRecord, EpochRecord, FileEntry
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ObjectInfo, ObjectStore
from deepseek_workloads.store.log import CommitLog, CorruptLog, Fenced, Overtaken, Writer, live_checkpoints


@pytest.fixture
def file_store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


def files(step: int) -> list[FileEntry]:
    return [FileEntry(key=f"data/{step}/0.distcp", size=1, checksum="xxh3-128:00")]


def commit(writer: Writer, step: int, *, reason: str = "schedule") -> int:
    return writer.commit_checkpoint(
        step=step,
        consumed_samples=step * 8,
        tokens=step * 64,
        prefix=f"data/{step}/",
        files=files(step),
        reason=reason,
    ).index


def begin(store: ObjectStore, **term: object) -> Writer:
    return CommitLog(store).begin_epoch(run_config_digest="sha256:0", **term)  # type: ignore[arg-type]


def test_an_empty_store_has_an_empty_log(store: ObjectStore) -> None:
    assert CommitLog(store).records() == []


def test_records_come_back_as_they_were_written(store: ObjectStore) -> None:
    writer = begin(store, pod="worker-0")
    commit(writer, 5)
    epoch, checkpoint = (entry.record for entry in CommitLog(store).records())
    assert isinstance(epoch, EpochRecord)
    assert (epoch.epoch, epoch.pod) == (1, "worker-0")
    assert isinstance(checkpoint, CheckpointRecord)
    assert (checkpoint.epoch, checkpoint.step, checkpoint.files) == (1, 5, files(5))


def test_each_begin_is_a_new_epoch(store: ObjectStore) -> None:
    assert [begin(store).epoch for _ in range(3)] == [1, 2, 3]


def test_an_older_epoch_is_fenced(store: ObjectStore) -> None:
    older = begin(store)
    commit(older, 1)
    newer = begin(store)
    for call in (lambda: commit(older, 2), lambda: older.retire([2]), older.check_fence):
        with pytest.raises(Fenced, match="epoch 2 owns"):
            call()
    commit(newer, 2)
    assert [entry.record.step for entry in live_checkpoints(CommitLog(store).records())] == [1, 2]


def test_a_new_epoch_knows_all_that_older_ones_committed(file_store: FileObjectStore) -> None:
    older = begin(file_store)
    commit(older, 1)
    assert [entry.record.step for entry in live_checkpoints(begin(file_store).entries)] == [1]


def test_a_retired_checkpoint_is_not_live(file_store: FileObjectStore) -> None:
    writer = begin(file_store)
    first = commit(writer, 1)
    commit(writer, 2)
    writer.retire([first])
    assert [entry.record.step for entry in live_checkpoints(writer.entries)] == [2]


def live(writer: Writer) -> list[tuple[int, str]]:
    return [(entry.record.step, entry.record.reason) for entry in live_checkpoints(writer.entries)]


def test_a_rollback_takes_the_place_of_all_from_where_it_went_back_to(file_store: FileObjectStore) -> None:
    writer = begin(file_store)
    for step in (5, 10, 20):
        commit(writer, step)
    back = commit(writer, 10, reason="rollback")
    assert live(writer) == [(5, "schedule"), (10, "rollback")]
    commit(writer, 20)
    assert live(writer) == [(5, "schedule"), (10, "rollback"), (20, "schedule")]
    writer.retire([back])
    assert live(writer) == [(5, "schedule"), (20, "schedule")], "what was given up does not come back"


def test_a_straggler_cannot_take_the_log_back_from_its_successor(file_store: FileObjectStore) -> None:
    begin(file_store, owner_uid="job", term=[1, 0])
    with pytest.raises(Fenced, match=r"term \[1, 0\]"):
        begin(file_store, owner_uid="job", term=[0, 7])
    assert begin(file_store, owner_uid="job", term=[1, 0]).epoch == 2
    assert begin(file_store, owner_uid="another job", term=[0]).epoch == 3


@pytest.mark.parametrize(
    ("successor", "expected"),
    [
        ({"owner_uid": "job", "term": [1, 0]}, Overtaken),  # a straggler of the same driver: it starts again
        ({"owner_uid": "job", "term": [1, 1]}, Fenced),
        ({"owner_uid": "another job", "term": [1, 0]}, Fenced),
    ],
)
def test_a_writer_tells_a_group_of_its_own_driver_from_a_successor(
    file_store: FileObjectStore, successor: dict[str, object], expected: type[Fenced]
) -> None:
    writer = begin(file_store, owner_uid="job", term=[1, 0])
    begin(file_store, **successor)
    with pytest.raises(Fenced) as raised:
        commit(writer, 1)
    assert raised.type is expected


def test_a_gap_is_an_error_that_names_the_missing_record(file_store: FileObjectStore) -> None:
    writer = begin(file_store)
    commit(writer, 1)
    commit(writer, 2)
    file_store.delete([layout.log_key(2)])
    with pytest.raises(CorruptLog, match="00000002"):
        CommitLog(file_store).records()


@pytest.mark.parametrize("document", [b"", b"{}", b'{"kind":"unknown"}', b"\x00"])
def test_a_damaged_record_is_an_error_that_names_it(file_store: FileObjectStore, document: bytes) -> None:
    file_store.put(layout.log_key(1), document)
    with pytest.raises(CorruptLog, match="00000001"):
        CommitLog(file_store).records()


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("data/9/", "log/00000001.json"),
        ("data/9/", "exports/sha256-0/model.safetensors"),
        ("data/9/", "data/9/../../log/00000001.json"),
        ("data/9/", "/data/9/x"),
        ("log/", "log/00000001.json"),
        ("data/../", "data/../log/00000001.json"),
    ],
)
def test_a_planted_checkpoint_whose_files_are_others_is_no_record(
    file_store: FileObjectStore, prefix: str, key: str
) -> None:
    """Its files would be deleted with it."""
    writer = begin(file_store)
    commit(writer, 1)
    document = file_store.read(layout.log_key(2)).decode()
    planted = document.replace("data/1/0.distcp", key).replace('"data/1/"', f'"{prefix}"')
    file_store.create(layout.log_key(3), planted.encode())
    with pytest.raises(CorruptLog, match="00000003"):
        CommitLog(file_store).records()


class LateListing(FileObjectStore):
    """Its listings lack what was written last."""

    def __init__(self, root: Path, *, hidden: int) -> None:
        super().__init__(root)
        self._hidden = hidden

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = list(super().list(prefix))
        return iter(found[: max(0, len(found) - self._hidden)])


@pytest.mark.parametrize("hidden", range(1, 5))
def test_an_epoch_knows_what_a_late_listing_hides_from_it(file_store: FileObjectStore, hidden: int) -> None:
    """Its own record finds the first free place by reading all before it."""
    older = begin(file_store)
    for step in (1, 2):
        commit(older, step)
    newer = begin(LateListing(Path(file_store.uri.removeprefix("file://")), hidden=hidden))
    assert newer.epoch == 2
    assert [entry.record.step for entry in live_checkpoints(newer.entries)] == [1, 2]
    with pytest.raises(Fenced):
        commit(older, 3)


def test_clocks_decide_nothing(file_store: FileObjectStore) -> None:
    ahead = CommitLog(file_store, clock=lambda: "2999-01-01T00:00:00Z")
    behind = CommitLog(file_store, clock=lambda: "1970-01-01T00:00:00Z")
    older = ahead.begin_epoch(run_config_digest="sha256:0")
    commit(older, 1)
    newer = behind.begin_epoch(run_config_digest="sha256:0")
    commit(newer, 2)
    assert [entry.record.step for entry in live_checkpoints(CommitLog(file_store).records())] == [1, 2]
    with pytest.raises(Fenced):
        commit(older, 3)
