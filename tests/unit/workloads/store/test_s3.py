"""What can go wrong between a store and an S3 server, each with the error that says what to do."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import (
    AccessDenied,
    BucketNotFound,
    ByteRange,
    InvalidCredentials,
    StoreError,
    StoreUnavailable,
)
from deepseek_workloads.store.open import InvalidStorageUri, open_store
from deepseek_workloads.store.probe import UnsafeStore, check_conditional_writes
from deepseek_workloads.store.retry import RetryPolicy
from deepseek_workloads.store.s3 import S3ObjectStore
from deepseek_workloads.store.s3_errors import from_error

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
QUICK = RetryPolicy(attempts=3, base_seconds=0.001)


@pytest.fixture
def s3(s3_storage: Storage) -> Iterator[S3ObjectStore]:
    store = open_store(s3_storage, environ=CREDENTIALS, retry=QUICK)
    assert isinstance(store, S3ObjectStore)
    yield store
    store.close()


@pytest.mark.parametrize("call", ["read", "stat"])
def test_a_missing_bucket_is_told_from_a_missing_object(s3_endpoint: str, call: str) -> None:
    store = open_store(Storage(uri="s3://nowhere/x", endpoint_url=s3_endpoint), environ=CREDENTIALS)
    with pytest.raises(BucketNotFound, match="nowhere"):
        getattr(store, call)("key")
    store.close()


def test_an_unreachable_endpoint_is_retried_and_then_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        store = open_store(
            Storage(uri="s3://bucket", endpoint_url=endpoint), environ=CREDENTIALS, retry=QUICK
        )
        assert isinstance(store, S3ObjectStore)
        with pytest.raises(StoreUnavailable, match="endpoint") as failure:
            store.read("key")
    assert failure.value.transient
    assert store.retries == 2
    store.close()


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix", "gs://", "bucket/prefix", "file://"])
def test_a_uri_that_names_no_place_is_refused(uri: str) -> None:
    with pytest.raises(InvalidStorageUri, match="BUCKET"):
        open_store(Storage(uri=uri), environ={})


def test_no_message_holds_a_credential(s3_endpoint: str) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIDVERYSECRET", "AWS_SECRET_ACCESS_KEY": "hush-hush"}
    store = open_store(Storage(uri="s3://nowhere", endpoint_url=s3_endpoint), environ=environ)
    with pytest.raises(StoreError) as failure:
        store.read("key")
    assert "AKIDVERYSECRET" not in str(failure.value)
    assert "hush" not in str(failure.value)
    store.close()


def test_a_listing_longer_than_a_page_is_whole(s3: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = s3._call

    async def small_pages(method: str, **arguments: Any) -> Any:
        limit = {"MaxKeys": 10} if method == "list_objects_v2" else {}
        return await original(method, **arguments, **limit)

    monkeypatch.setattr(s3, "_call", small_pages)
    keys = [f"log/{index:08d}" for index in range(25)]
    for key in keys:
        s3.put(key, b"")
    assert [info.key for info in s3.list("log/")] == keys


def test_neighbouring_ranges_share_a_request(s3: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put("key", bytes(10_000))
    asked: list[ByteRange] = []
    original = s3._read_once

    async def counted(request: ByteRange) -> bytes:
        asked.append(request)
        return await original(request)

    monkeypatch.setattr(s3, "_read_once", counted)
    s3.read_ranges([ByteRange("key", start, start + 100) for start in range(0, 10_000, 200)])
    assert asked == [ByteRange("key", 0, 9_900)]


def test_the_probe_refuses_a_store_that_ignores_the_condition(s3: S3ObjectStore, monkeypatch) -> None:
    monkeypatch.setattr(s3, "create", s3.put)
    with pytest.raises(UnsafeStore, match="If-None-Match"):
        check_conditional_writes(s3)


def test_the_probe_refuses_a_server_that_never_sees_the_condition(
    s3: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a gateway that drops the header: the second write is answered as a success."""
    original, dropped = s3._files._call_s3, list[str]()

    async def without_condition(method: str, *arguments: Any, **keywords: Any) -> Any:
        if keywords.pop("IfNoneMatch", None):
            dropped.append(method)
        return await original(method, *arguments, **keywords)

    monkeypatch.setattr(s3._files, "_call_s3", without_condition)
    with pytest.raises(UnsafeStore, match="two writers could both commit"):
        check_conditional_writes(s3)
    assert dropped == ["put_object", "put_object"]
    assert list(s3.list("probe/")) == [], "nothing is left behind"


def test_the_probe_of_a_place_that_may_not_be_written_says_so(
    s3: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise AccessDenied("s3://bucket/probe: the store answered 403 AccessDenied")

    monkeypatch.setattr(s3, "create", denied)
    monkeypatch.setattr(s3, "delete", lambda _: pytest.fail("there is nothing to delete"))
    with pytest.raises(AccessDenied):
        check_conditional_writes(s3)


def test_an_object_that_may_not_be_deleted_is_named() -> None:
    response = {"Error": {"Code": "AccessDenied", "Key": "a/1"}}
    error = from_error(response, operation="DeleteObjects", uri="s3://bucket/a/1: not deleted")
    assert isinstance(error, AccessDenied)
    assert "s3://bucket/a/1" in str(error)


def test_wrong_keys_are_told_from_missing_rights() -> None:
    from botocore.exceptions import ClientError

    from deepseek_workloads.store.s3_errors import to_store_error

    def answered(code: str, status: int) -> StoreError:
        response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return to_store_error(ClientError(response, "PutObject"), uri="s3://bucket/key")

    assert isinstance(answered("SignatureDoesNotMatch", 403), InvalidCredentials)
    assert answered("AccessDenied", 403).reason == "AccessDenied"
    assert answered("SlowDown", 503).transient
    assert answered("ConditionalRequestConflict", 409).transient
    assert answered("InternalError", 500).transient
    assert not answered("NotImplemented", 501).transient
    assert answered("PreconditionFailed", 412).reason == "AlreadyExists"
