"""gs:// and az:// through obstore (Rust): the same promises as s3://, by these services' own conditions.

A create sends `x-goog-if-generation-match: 0` to Google Cloud Storage and `If-None-Match: *` to Azure Blob
Storage. Retries and the ETag pin are here; how a service is reached is `obstore_services`, what its errors
mean `obstore_errors`.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import obstore
from fsspec.asyn import get_loop

from deepseek_workloads.store.interface import ByteRange, NotFound, ObjectChanged, ObjectInfo, parts_of
from deepseek_workloads.store.obstore_errors import to_store_error
from deepseek_workloads.store.ranges import plan_ranges
from deepseek_workloads.store.retry import RetryPolicy

Result = TypeVar("Result")

_CONCURRENCY = 16  # requests in flight of one store
_PART_BYTES = 8 * 1024 * 1024  # of what is large


class ObstoreObjectStore:
    """An ObjectStore below a prefix of `service`, an obstore store that tries nothing again. Thread-safe; not
    usable after a fork."""

    def __init__(self, service: Any, *, uri: str, prefix: str = "", retry: RetryPolicy | None = None) -> None:
        """`uri`: with the prefix, as a user names it."""
        self._service, self._uri = service, uri.rstrip("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._retry = retry or RetryPolicy()
        self._retries = 0
        self._loop = get_loop()
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def retries(self) -> int:
        return self._retries

    @property
    def hedges(self) -> int:
        return 0

    def read(self, key: str) -> bytes:
        return self._run(key, lambda: self._get(key, {}))

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        plan = plan_ranges(ranges)
        return plan.assemble(self._wait(self._all(plan.requests, self._get_range)))

    def read_with_info(self, ranges: Sequence[ByteRange]) -> list[tuple[bytes, ObjectInfo]]:
        return list(self._wait(self._all(ranges, self._get_part)))

    def stat(self, key: str) -> ObjectInfo:
        return self._run(key, lambda: self._head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The services list folders; what begins with half a name is picked out here."""
        folder = (self._prefix + prefix).rpartition("/")[0]
        found = self._run(prefix, lambda: self._list(folder))
        wanted = [info for info in found if info.key.startswith(prefix)]
        yield from sorted(wanted, key=lambda info: info.key)

    def create(self, key: str, content: bytes) -> None:
        self._run(key, lambda: self._put(key, content, mode="create", use_multipart=False))

    def put(self, key: str, content: bytes | memoryview) -> None:
        self._run(key, lambda: self._put(key, content, chunk_size=_PART_BYTES))

    def put_file(self, key: str, path: Path) -> None:
        self._run(key, lambda: self._put(key, path, chunk_size=_PART_BYTES))

    def get_file(self, key: str, path: Path) -> None:
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            info = self.stat(key)
            with unfinished.open("wb") as file:
                for part in parts_of(self, info):
                    file.write(part)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def delete(self, keys: Sequence[str]) -> None:
        self._wait(self._delete_all(keys))

    def close(self) -> None:
        """Connections go with the last reference."""

    # --- one request each

    async def _get(self, key: str, options: dict[str, Any]) -> bytes:
        content, _ = await self._get_with_info(key, options)
        return content

    async def _get_with_info(self, key: str, options: dict[str, Any]) -> tuple[bytes, ObjectInfo]:
        async with self._slots:
            result = await obstore.get_async(self._service, self._prefix + key, options=options or None)
            content = bytes(await result.bytes_async())
        pinned = options.get("if_match")
        if pinned and _etag(result.meta) != pinned.strip('"'):
            raise ObjectChanged(
                f"{self._uri}/{key}: its ETag is {_etag(result.meta)}, not {pinned}: overwritten"
            )
        return content, self._info(result.meta)

    async def _get_part(self, asked: ByteRange) -> tuple[bytes, ObjectInfo]:
        return await self._get_with_info(asked.key, {"range": (asked.start, asked.end)})

    async def _get_range(self, asked: ByteRange) -> bytes:
        options: dict[str, Any] = {"range": (asked.start, asked.end)}
        if asked.etag:
            options["if_match"] = f'"{asked.etag}"'
        try:
            content = await self._get(asked.key, options)
        except obstore.exceptions.GenericError:  # 416 is among them
            if (await self._head(asked.key)).size >= asked.end:
                raise
            content = b""
        if len(content) != asked.end - asked.start:
            raise ObjectChanged(
                f"{self._uri}/{asked.key}: of bytes {asked.start} to {asked.end} came {len(content)}: the "
                "object is shorter than its record says, or the store ignores Range"
            )
        return content

    async def _all(
        self, ranges: Sequence[ByteRange], read: Callable[[ByteRange], Awaitable[Result]]
    ) -> Sequence[Result]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._attempts(asked.key, partial(read, asked))) for asked in ranges]
        return [task.result() for task in tasks]

    async def _head(self, key: str) -> ObjectInfo:
        return self._info(await obstore.head_async(self._service, self._prefix + key))

    async def _list(self, folder: str) -> Sequence[ObjectInfo]:
        stream = obstore.list(self._service, prefix=folder or None)
        return [self._info(meta) for meta in await stream.collect_async()]

    async def _put(self, key: str, content: Any, **options: Any) -> None:
        await obstore.put_async(self._service, self._prefix + key, content, **options)

    async def _delete_all(self, keys: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self._delete(key))

    async def _delete(self, key: str) -> None:
        async with self._slots:
            with suppress(NotFound):
                await self._attempts(key, lambda: obstore.delete_async(self._service, self._prefix + key))

    def _info(self, meta: Any) -> ObjectInfo:
        return ObjectInfo(meta["path"].removeprefix(self._prefix), meta["size"], _etag(meta))

    # --- retries, and the way from threads into the event loop

    async def _attempts(self, key: str, operation: Callable[[], Awaitable[Result]]) -> Result:
        begun: float | None = None  # the first failure
        failures = 0
        while True:
            try:
                return await operation()
            except Exception as error:
                failure = to_store_error(error, uri=f"{self._uri}/{key}")
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


def _etag(meta: Any) -> str:
    return (meta["e_tag"] or "").strip('"')
