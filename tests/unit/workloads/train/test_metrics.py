"""Metrics in the store: nothing is lost at the end, and nothing of them fails a run."""

import json
import threading
import time
from pathlib import Path

import pytest

from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import StoreUnavailable
from deepseek_workloads.train import metrics
from deepseek_workloads.train.metrics import MetricsWriter


@pytest.fixture
def store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


def lines(store: FileObjectStore) -> list[int]:
    keys = sorted(info.key for info in store.list("runs/00000003/") if info.key.endswith(".jsonl"))
    keys.sort(key=len)  # metrics.jsonl is the first part
    return [json.loads(line)["step"] for key in keys for line in store.read(key).splitlines()]


def test_a_flush_makes_durable_what_was_added(store: FileObjectStore) -> None:
    writer = MetricsWriter(store, epoch=3)
    for step in (1, 2):
        writer.add({"step": step}, step=step, scalars={"loss": 0.5})
    writer.begin_flush()()
    assert lines(store) == [1, 2]
    assert any(info.key.startswith("runs/00000003/tensorboard/") for info in store.list("runs/"))
    writer.close()


def test_closing_flushes(store: FileObjectStore) -> None:
    writer = MetricsWriter(store, epoch=3)
    writer.add({"step": 1}, step=1)
    writer.close()
    assert lines(store) == [1]


def test_it_flushes_by_itself(store: FileObjectStore) -> None:
    writer = MetricsWriter(store, epoch=3, flush_seconds=0.05)
    writer.add({"step": 1}, step=1)
    deadline = time.monotonic() + 30
    while not lines(store) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert lines(store) == [1]
    writer.close()


def test_a_large_file_is_followed_by_another(store: FileObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_PART_BYTES", 40)
    writer = MetricsWriter(store, epoch=3)
    for step in range(1, 8):
        writer.add({"step": step}, step=step)
    writer.close()
    assert lines(store) == [1, 2, 3, 4, 5, 6, 7]
    assert len([info for info in store.list("runs/") if info.key.endswith(".jsonl")]) > 1


def test_a_store_that_fails_costs_a_warning_only(
    store: FileObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(_key: str, _path: Path) -> None:
        raise StoreUnavailable("s3://bucket: down")

    monkeypatch.setattr(store, "put_file", unavailable)
    writer = MetricsWriter(store, epoch=3)
    writer.add({"step": 1}, step=1)
    writer.begin_flush()()
    assert "s3://bucket: down" in writer.warning
    writer.close()


def test_a_disk_that_fails_costs_a_warning_only(
    store: FileObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics.tempfile, "tempdir", "/proc/no-such-folder")
    writer = MetricsWriter(store, epoch=3)
    writer.add({"step": 1}, step=1)
    writer.begin_flush()()
    writer.close()
    assert "metrics are lost" in writer.warning
