"""s3:// through s3fs: one asynchronous instance on fsspec's event-loop thread, behind blocking calls.

Retries, deadlines and the ETag pin are here; what the errors mean is `s3_errors`, which ranges are read
together is `ranges`. It knows nothing about what the objects hold.
"""

import asyncio
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import s3fs
from fsspec.asyn import get_loop

from deepseek_workloads.store.hedging import Hedging
from deepseek_workloads.store.interface import (
    AccessDenied,
    ByteRange,
    NotFound,
    ObjectChanged,
    ObjectInfo,
)
from deepseek_workloads.store.obstore_ranges import Keys, ObstoreRanges, is_installed
from deepseek_workloads.store.ranges import MAX_REQUEST, plan_ranges
from deepseek_workloads.store.retry import RetryPolicy
from deepseek_workloads.store.s3_errors import from_error, to_store_error
from deepseek_workloads.store.s3_upload import PART_BYTES, UploadRequests, upload_in_parts

Result = TypeVar("Result")

_CONCURRENCY = 16  # requests in flight of one store
_UPLOAD_PART = 16 * 1024 * 1024  # bytes
_DELETE_BATCH = 1000  # the protocol's limit


class S3ObjectStore:
    """An ObjectStore below s3://bucket/prefix. Thread-safe; not usable after a fork."""

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        region: str = "us-east-1",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        retry: RetryPolicy | None = None,
        hedging: Hedging | None = None,
        fast_reads: bool | None = None,
    ) -> None:
        """`fast_reads`: ranges through obstore; None: where it is installed."""
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._retry = retry or RetryPolicy()
        self._retries = 0
        self._files = s3fs.S3FileSystem(
            key=access_key_id,
            secret=secret_access_key,
            token=session_token,
            endpoint_url=endpoint_url,
            client_kwargs={"region_name": region},
            config_kwargs=_client_config(endpoint_url),
            asynchronous=True,
            max_concurrency=_CONCURRENCY,
            fixed_upload_size=True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._files.retries = 1  # the one place that tries again is `_attempts`
        self._loop = get_loop()
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._hedging = hedging or Hedging()
        self._fast: ObstoreRanges | None = None
        if is_installed() if fast_reads is None else fast_reads:
            known = access_key_id and secret_access_key
            keys = Keys(access_key_id or "", secret_access_key or "", session_token) if known else None
            self._fast = ObstoreRanges(bucket, endpoint_url=endpoint_url, region=region, keys=keys)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def retries(self) -> int:
        return self._retries

    @property
    def hedges(self) -> int:
        return self._hedging.copies

    def read(self, key: str) -> bytes:
        return self._run(key, lambda: self._get(key))

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        plan = plan_ranges(ranges)
        return plan.assemble(self._wait(self._all(plan.requests, self._read_once)))

    def read_with_info(self, ranges: Sequence[ByteRange]) -> list[tuple[bytes, ObjectInfo]]:
        return list(self._wait(self._all(ranges, self._read_with_info_once)))

    def stat(self, key: str) -> ObjectInfo:
        return self._run(key, lambda: self._head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        token: dict[str, str] = {}
        while True:
            request = {"Prefix": self._prefix + prefix, **token}
            page = self._run(prefix, partial(self._call, "list_objects_v2", **request))
            for entry in page.get("Contents", []):
                yield ObjectInfo(entry["Key"].removeprefix(self._prefix), entry["Size"], _etag(entry))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def create(self, key: str, content: bytes) -> None:
        self._run(key, lambda: self._pipe(key, content, mode="create"))

    def put(self, key: str, content: bytes | memoryview) -> None:
        if len(content) < 2 * PART_BYTES:
            self._run(key, lambda: self._pipe(key, bytes(content), mode="overwrite"))
            return
        requests = UploadRequests(
            call=partial(self._call, Key=self._prefix + key),
            attempts=partial(self._attempts, key),
            size=lambda: self._size(key),
            slots=self._slots,
        )
        self._wait(upload_in_parts(requests, memoryview(content), part_bytes=PART_BYTES))

    def put_file(self, key: str, path: Path) -> None:
        target = self._path(key)
        self._run(key, lambda: self._files._put_file(str(path), target, chunksize=_UPLOAD_PART))

    def get_file(self, key: str, path: Path) -> None:
        """Ranges in parallel, pinned to one ETag; `path` appears only when it is whole."""
        info = self.stat(key)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        step = 4 * MAX_REQUEST
        try:
            with unfinished.open("wb") as file:
                for start in range(0, info.size, step):
                    end = min(start + step, info.size)
                    file.write(self.read_ranges([ByteRange(key, start, end, info.etag)])[0])
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            self._run(batch[0], partial(self._delete_batch, batch))

    def close(self) -> None:
        """Idempotent. The store opens again on the next call."""
        client, self._files._s3 = self._files._s3, None
        if client is not None:
            self._wait(client.close())

    # --- one request each

    async def _call(self, method: str, **arguments: Any) -> Any:
        return await self._files._call_s3(method, Bucket=self._bucket, **arguments)

    async def _get(self, key: str, **conditions: str) -> bytes:
        content, _ = await self._get_with_info(key, **conditions)
        return content

    async def _get_with_info(self, key: str, **conditions: str) -> tuple[bytes, ObjectInfo]:
        async with self._slots:
            response = await self._call("get_object", Key=self._prefix + key, **conditions)
            async with response["Body"] as body:
                content: bytes = await body.read()
        pinned = conditions.get("IfMatch")
        if pinned and _etag(response) != pinned.strip('"'):
            raise ObjectChanged(f"{self._uri(key)}: its ETag is {_etag(response)}, not {pinned}: overwritten")
        size = response.get("ContentRange", "").rpartition("/")[2]  # of a part: bytes 0-9/100
        return content, ObjectInfo(key, int(size) if size else len(content), _etag(response))

    async def _get_range(self, asked: ByteRange) -> bytes:
        conditions = {"Range": f"bytes={asked.start}-{asked.end - 1}"}
        if asked.etag:
            conditions["IfMatch"] = f'"{asked.etag}"'
        content = await self._get(asked.key, **conditions)
        if len(content) != asked.end - asked.start:
            raise ObjectChanged(
                f"{self._uri(asked.key)}: of bytes {asked.start} to {asked.end} came {len(content)}: the "
                "object is shorter than its record says, or the store ignores Range"
            )
        return content

    async def _read_once(self, asked: ByteRange) -> bytes:
        """By the fast reader where there is one. What it cannot read, s3fs reads, or says why not."""
        if self._fast is not None:
            async with self._slots:
                content = await self._fast.read(self._prefix + asked.key, asked)
            if content is not None:
                return content
            self._retries += 1
        return await self._get_range(asked)

    async def _read_with_info_once(self, asked: ByteRange) -> tuple[bytes, ObjectInfo]:
        if self._fast is not None:
            async with self._slots:
                found = await self._fast.read_with_info(self._prefix + asked.key, asked)
            if found is not None:
                return found
            self._retries += 1
        return await self._get_with_info(asked.key, Range=f"bytes={asked.start}-{asked.end - 1}")

    async def _all(
        self, ranges: Sequence[ByteRange], read: Callable[[ByteRange], Awaitable[Result]]
    ) -> Sequence[Result]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._attempts(asked.key, partial(self._hedging.run, partial(read, asked))))
                for asked in ranges
            ]
        return [task.result() for task in tasks]

    async def _head(self, key: str) -> ObjectInfo:
        try:
            response = await self._call("head_object", Key=self._prefix + key)
        except Exception as error:
            # The answer to a HEAD has no body to say why: a listing tells a missing bucket from a missing
            # object, and wrong keys from missing rights.
            failure = to_store_error(error, uri=self._uri(key))
            if isinstance(failure, NotFound | AccessDenied):
                await self._call("list_objects_v2", Prefix=self._prefix + key, MaxKeys=1)
            raise failure from error
        return ObjectInfo(key, response["ContentLength"], _etag(response))

    async def _size(self, key: str) -> int:
        return (await self._head(key)).size

    async def _pipe(self, key: str, content: bytes, *, mode: str) -> None:
        await self._files._pipe_file(self._path(key), content, chunksize=_UPLOAD_PART, mode=mode)

    async def _delete_batch(self, keys: Sequence[str]) -> None:
        request = {"Objects": [{"Key": self._prefix + key} for key in keys], "Quiet": True}
        response = await self._call("delete_objects", Delete=request)
        for failure in response.get("Errors", []):
            if failure.get("Code") != "NoSuchKey":
                uri = f"s3://{self._bucket}/{failure.get('Key')}: not deleted"
                raise from_error({"Error": failure}, operation="DeleteObjects", uri=uri)

    # --- retries, and the way from threads into the event loop

    async def _attempts(self, key: str, operation: Callable[[], Awaitable[Result]]) -> Result:
        begun: float | None = None  # the first failure: what took long before it has all of the budget
        failures = 0
        while True:
            try:
                return await operation()
            except Exception as error:
                failure = to_store_error(error, uri=self._uri(key))
                failures += 1
                begun = time.monotonic() if begun is None else begun
                elapsed = time.monotonic() - begun
                wait = self._retry.delay(failures, elapsed=elapsed, uniform=random.random)
                if not failure.transient or wait is None:
                    raise failure from error
            self._retries += 1
            await asyncio.sleep(wait)

    def _run(self, key: str, operation: Callable[[], Awaitable[Result]]) -> Result:
        return self._wait(self._attempts(key, operation))

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._loop is not get_loop():
            work.close()
            raise RuntimeError(f"{self.uri}: this store was opened before a fork; open one in each process")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseExceptionGroup as group:  # of the TaskGroup: the first cause speaks for all
            raise group.exceptions[0] from None
        except BaseException:
            future.cancel()
            raise

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._prefix}{key}"

    def _uri(self, key: str) -> str:
        return f"s3://{self._path(key)}"


def _etag(response: Any) -> str:
    return str(response["ETag"]).strip('"')


def _client_config(endpoint_url: str | None) -> dict[str, Any]:
    """Settings of botocore's client.

    Checksums only where the protocol requires them: SigV4 signs the SHA-256 of every body, readers verify our
    own, and several stores answer ranges with a whole object's checksum.
    """
    return {
        "max_pool_connections": _CONCURRENCY * 2,
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "s3": {"addressing_style": "path" if endpoint_url else "auto"},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "user_agent_extra": f"deepseek-workloads pid/{os.getpid()}",
    }
