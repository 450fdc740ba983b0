"""Blocks on a disk: shared, bounded, verified, and never in the way."""

import errno
import logging
from pathlib import Path

import pytest

from deepseek_workloads.data.blocks import TokenReader
from deepseek_workloads.data.disk_cache import DiskCache
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.store.interface import ByteRange

URI = "s3://bucket/set"


def _range(number: int, etag: str = "one") -> ByteRange:
    return ByteRange("shard", 10 * number, 10 * number + 10, etag)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blocks"


class CountingStore:
    """Counts ranges that are read; everything else is the store's below it."""

    def __init__(self, store) -> None:
        self._store = store
        self.read = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read_ranges(self, ranges):
        self.read += len(ranges)
        return self._store.read_ranges(ranges)


def test_what_one_process_kept_another_finds_until_the_object_changes(folder: Path) -> None:
    DiskCache(folder, capacity_bytes=100).put(URI, _range(0), b"0123456789")
    other = DiskCache(folder, capacity_bytes=100)
    assert other.get(URI, _range(0)) == b"0123456789"
    assert other.get(URI, _range(0, etag="two")) is None
    assert other.get("s3://bucket/other", _range(0)) is None


def test_the_least_recently_used_goes_first_and_the_bound_holds(folder: Path) -> None:
    cache = DiskCache(folder, capacity_bytes=35)
    for number in range(3):
        cache.put(URI, _range(number), bytes(10))
    assert cache.get(URI, _range(0)) is not None
    cache.put(URI, _range(3), bytes(10))
    assert [cache.get(URI, _range(number)) is not None for number in range(4)] == [True, False, True, True]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 35


def test_a_full_disk_is_told_once_and_reading_goes_on(
    folder: Path, new_store, write_dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = new_store("a")
    space = TokenSpace(write_dataset(store, [64]).train)

    def full(_path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    reader = TokenReader(store, space, DiskCache(folder, capacity_bytes=1000))
    with caplog.at_level(logging.WARNING):
        assert [reader.read(start, start + 16).tolist()[0] for start in (0, 16, 32)] == [0, 16, 32]
    (warning,) = caplog.messages
    assert warning.endswith("No space left on device: blocks are not kept on disk from here on")


def test_a_block_is_read_again_when_its_file_is_damaged(folder: Path, new_store, write_dataset) -> None:
    store = CountingStore(new_store("a"))
    space = TokenSpace(write_dataset(store, [64]).train)
    cache = DiskCache(folder, capacity_bytes=1000)
    for _ in range(3):
        assert TokenReader(store, space, cache).read(0, 32).tolist() == list(range(32))
    assert store.read == 1
    (kept,) = folder.iterdir()
    kept.write_bytes(bytes([kept.read_bytes()[0] ^ 1]) + kept.read_bytes()[1:])
    assert TokenReader(store, space, cache).read(0, 32).tolist() == list(range(32))
    assert store.read == 2
