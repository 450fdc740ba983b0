"""What every ObjectStore promises, for file://, s3:// and gs:// alike."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepseek_workloads.store import s3
from deepseek_workloads.store.interface import (
    AlreadyExists,
    ByteRange,
    NotFound,
    ObjectChanged,
    ObjectStore,
)
from deepseek_workloads.store.probe import check_conditional_writes


def test_what_is_put_is_read(store: ObjectStore) -> None:
    store.put("a/b.bin", b"content")
    assert store.read("a/b.bin") == b"content"
    assert store.stat("a/b.bin").size == 7


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert store.read("empty") == b""
    assert store.read_ranges([ByteRange("empty", 0, 0)]) == [b""]


def test_put_overwrites(store: ObjectStore) -> None:
    store.put("key", b"old")
    store.put("key", b"new")
    assert store.read("key") == b"new"


def test_create_succeeds_once_and_keeps_the_first(store: ObjectStore) -> None:
    store.create("key", b"first")
    with pytest.raises(AlreadyExists, match="key"):
        store.create("key", b"second")
    assert store.read("key") == b"first"


def test_one_of_many_racing_creators_wins(store: ObjectStore) -> None:
    barrier = threading.Barrier(8)

    def race(writer: int) -> bool:
        barrier.wait()
        try:
            store.create("raced", str(writer).encode())
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert won.count(True) == 1
    assert store.read("raced") == str(won.index(True)).encode()


@pytest.mark.parametrize("call", ["read", "stat"])
def test_a_missing_object_is_named(store: ObjectStore, call: str) -> None:
    with pytest.raises(NotFound, match="no/such/key"):
        getattr(store, call)("no/such/key")


def test_a_listing_is_sorted_and_holds_only_the_prefix(store: ObjectStore) -> None:
    for key in ("log/2", "log/1", "logs/3", "data/x/y"):
        store.put(key, key.encode())
    assert [info.key for info in store.list("log/")] == ["log/1", "log/2"]
    assert [info.key for info in store.list("log")] == ["log/1", "log/2", "logs/3"]
    assert [info.key for info in store.list("")] == ["data/x/y", "log/1", "log/2", "logs/3"]
    assert [info.size for info in store.list("data/")] == [8]


def test_ranges_come_back_in_the_order_asked(store: ObjectStore) -> None:
    content = bytes(range(256)) * 10
    store.put("one", content)
    store.put("two", content[::-1])
    ranges = [
        ByteRange("two", 5, 9),
        ByteRange("one", 100, 300),
        ByteRange("one", 0, 1),
        ByteRange("one", 7, 7),
    ]
    expected = [content[::-1][5:9], content[100:300], content[:1], b""]
    assert store.read_ranges(ranges) == expected


@pytest.mark.parametrize(("start", "end"), [(0, 10), (2, 5), (8, 99)])
def test_a_range_comes_with_what_its_object_is(store: ObjectStore, start: int, end: int) -> None:
    """As much of it as there is."""
    store.put("key", b"0123456789")
    store.put("second", b"abc")
    (content, info), (second, _) = store.read_with_info(
        [ByteRange("key", start, end), ByteRange("second", 0, 1)]
    )
    assert (content, second) == (b"0123456789"[start:end], b"a")
    assert info == store.stat("key")
    with pytest.raises(NotFound, match="other"):
        store.read_with_info([ByteRange("other", start, end)])


def test_a_range_of_an_overwritten_object_is_an_error(store: ObjectStore) -> None:
    store.put("key", b"0123456789")
    etag = store.stat("key").etag
    assert store.read_ranges([ByteRange("key", 2, 5, etag)]) == [b"234"]
    store.put("key", b"abcdefghijk")
    with pytest.raises(ObjectChanged, match="key"):
        store.read_ranges([ByteRange("key", 2, 5, etag)])


def test_a_range_beyond_the_end_is_an_error(store: ObjectStore) -> None:
    store.put("short", b"0123")
    for asked in (ByteRange("short", 2, 6), ByteRange("short", 10, 12)):
        with pytest.raises(ObjectChanged, match="short"):
            store.read_ranges([asked])


def test_a_range_of_a_missing_object_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound, match="missing"):
        store.read_ranges([ByteRange("missing", 0, 1)])


def test_files_go_up_and_come_down_whole(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 5 * 1024 * 1024
    monkeypatch.setattr(s3, "_UPLOAD_PART", part)
    content = bytes(range(251)) * (2 * part // 251 + 1)
    (tmp_path / "up").write_bytes(content)
    store.put_file("big", tmp_path / "up")
    store.get_file("big", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content


def test_a_failed_download_leaves_no_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        store.get_file("missing", tmp_path / "down")
    assert list(tmp_path.glob("*down*")) == []


def test_delete_ignores_what_is_not_there(store: ObjectStore) -> None:
    store.put("data/a/1", b"1")
    store.put("data/a/2", b"2")
    store.delete(["data/a/1", "data/a/none"])
    store.delete([])
    assert [info.key for info in store.list("")] == ["data/a/2"]


def test_a_closed_store_may_be_closed_again(store: ObjectStore) -> None:
    store.put("key", b"1")
    store.close()
    store.close()


def test_the_probe_accepts_a_store_with_conditional_writes_and_leaves_nothing(store: ObjectStore) -> None:
    check_conditional_writes(store)
    assert list(store.list("")) == []
