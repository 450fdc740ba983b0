"""Through a proxy that breaks requests: what is tried again, and what a lost answer does to a commit."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store import s3
from deepseek_workloads.store.hedging import Hedging
from deepseek_workloads.store.interface import (
    AccessDenied,
    AlreadyExists,
    ByteRange,
    NotFound,
    StoreUnavailable,
)
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from deepseek_workloads.store.s3 import S3ObjectStore
from local_object_store import Proxy
from local_object_store.faults import Kind

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
QUICK = RetryPolicy(attempts=4, base_seconds=0.001)
LEAST_PART = 5 * 1024 * 1024  # bytes, the protocol's least


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    with Proxy(s3_endpoint) as running:
        yield running


@pytest.fixture
def store(proxy: Proxy, s3_storage: Storage, request: pytest.FixtureRequest) -> Iterator[S3ObjectStore]:
    """Reads through obstore, or as a test's parameter says."""
    storage = s3_storage.model_copy(update={"endpoint_url": proxy.endpoint_url})
    opened = open_store(
        storage,
        environ=CREDENTIALS,
        retry=QUICK,
        fast_reads=getattr(request, "param", "obstore") == "obstore",
    )
    assert isinstance(opened, S3ObjectStore)
    yield opened
    opened.close()


@pytest.mark.parametrize("store", ["s3fs", "obstore"], indirect=True)
@pytest.mark.parametrize("fault", ["busy", "error", "reset", "answer lost", "cut", "reset in body"])
def test_a_read_is_tried_again_by_either_reader(store: S3ObjectStore, proxy: Proxy, fault: Kind) -> None:
    store.put("key", b"0123456789")
    proxy.fail(fault, fault)
    assert store.read("key") == b"0123456789"
    proxy.heal()
    proxy.fail(fault)
    assert store.read_ranges([ByteRange("key", 2, 6)]) == [b"2345"]
    assert 1 <= store.retries <= 3  # aiohttp itself repeats what an idle connection did not answer


@pytest.mark.parametrize("reader", ["s3fs", "obstore"])
def test_a_store_that_refuses_connections_is_waited_for(
    s3_endpoint: str, s3_storage: Storage, reader: str
) -> None:
    """Refused connections fail at once: it is time that ends the retries, not their number."""
    proxy = Proxy(s3_endpoint)
    storage = s3_storage.model_copy(update={"endpoint_url": proxy.endpoint_url})
    patient = RetryPolicy(base_seconds=0.001, cap_seconds=0.02)
    refused = open_store(storage, environ=CREDENTIALS, retry=patient, fast_reads=reader == "obstore")
    with closing(open_store(s3_storage, environ=CREDENTIALS)) as direct:
        direct.put("key", b"0123456789")
    with closing(refused), ThreadPoolExecutor(1) as reading:
        found = reading.submit(refused.read_ranges, [ByteRange("key", 2, 6)])
        deadline = time.monotonic() + 60
        while refused.retries < 40:
            assert not wait([found], timeout=0.02).done, found.exception()
            assert time.monotonic() < deadline
        with proxy:
            assert found.result(timeout=60) == [b"2345"]


def test_a_store_that_stays_busy_is_given_up_within_the_budget(store: S3ObjectStore, proxy: Proxy) -> None:
    proxy.fail(*["busy"] * 100)
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        store.read("key")
    assert len(proxy.requests) == QUICK.attempts


def test_an_upload_in_parts_survives_lost_answers(
    store: S3ObjectStore, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_UPLOAD_PART", LEAST_PART)
    content = bytes(range(256)) * (2 * LEAST_PART // 256 + 1)
    (tmp_path / "file").write_bytes(content)
    proxy.fail("none", "answer lost", "none", "busy")
    store.put_file("big", tmp_path / "file")
    store.get_file("big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("fault", ["busy", "reset", "answer lost"])
@pytest.mark.parametrize("request_number", range(5), ids=["create", "part", "part", "part", "complete"])
def test_a_large_put_survives_a_fault_at_any_request(
    store: S3ObjectStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, request_number: int, fault: Kind
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", LEAST_PART)
    content = bytes(range(256)) * (2 * LEAST_PART // 256 + 1)
    proxy.fail(*["none"] * request_number, fault)
    store.put("big", memoryview(content))
    assert len(proxy.requests) > 5
    assert store.read("big") == content


def test_a_large_put_that_fails_takes_its_parts_back(
    store: S3ObjectStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, s3_storage: Storage
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", LEAST_PART)
    calls: list[str] = []
    original = store._call

    async def failing(method: str, **arguments: object) -> object:
        calls.append(method)
        if method == "upload_part" and arguments["PartNumber"] == 2:
            raise AccessDenied("no")
        return await original(method, **arguments)

    monkeypatch.setattr(store, "_call", failing)
    with pytest.raises(AccessDenied):
        store.put("big", bytes(2 * LEAST_PART + 1))
    assert calls[-1] == "abort_multipart_upload"
    assert "complete_multipart_upload" not in calls
    with pytest.raises(NotFound):
        store.stat("big")


def test_a_create_whose_answer_was_lost_may_say_that_the_object_exists(
    store: S3ObjectStore, proxy: Proxy
) -> None:
    proxy.fail("answer lost")
    with pytest.raises(AlreadyExists):
        store.create("key", b"mine")
    assert store.read("key") == b"mine"


def test_a_commit_whose_answer_was_lost_is_known_to_have_succeeded_and_is_there_once(
    store: S3ObjectStore, proxy: Proxy
) -> None:
    writer = CommitLog(store).begin_epoch(run_config_digest="")
    proxy.fail("answer lost")
    entry = writer.commit_checkpoint(step=1, consumed_samples=1, tokens=1, prefix="data/x/", files=[])
    assert [found.index for found in CommitLog(store).records()] == [1, entry.index]


def test_a_straggler_is_overtaken_by_a_second_request(proxy: Proxy, s3_storage: Storage) -> None:
    bucket, _, prefix = s3_storage.uri.removeprefix("s3://").partition("/")
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    hedging = Hedging(share=1.0, least_seconds=0.5)
    store = S3ObjectStore(bucket, prefix=prefix, endpoint_url=proxy.endpoint_url, hedging=hedging, **keys)
    store.put("key", b"0123456789")
    for _ in range(20):  # it is known from now on how long a request takes
        store.read_ranges([ByteRange("key", 0, 10)])
    before = store.hedges
    proxy.fail("stall", seconds=60.0)
    assert store.read_ranges([ByteRange("key", 2, 6)]) == [b"2345"]
    assert (store.hedges - before, store.retries) == (1, 0)
    store.close()
