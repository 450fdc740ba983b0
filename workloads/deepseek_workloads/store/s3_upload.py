"""An object in parts that are uploaded side by side (S3's multipart upload).

A part is copied only while it is sent, and each request is tried again by itself. It does not know how
requests are made, nor what the object holds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 10_000  # the protocol's limit


@dataclass(frozen=True)
class UploadRequests:
    """About one object."""

    call: Callable[..., Awaitable[Any]]  # one request: its method, and arguments by name
    attempts: Callable[[Callable[[], Awaitable[Any]]], Coroutine[Any, Any, Any]]  # tries again, in a budget
    size: Callable[[], Awaitable[int]]  # bytes of the object that is there, or an exception
    slots: asyncio.Semaphore  # for requests that carry much


async def upload_in_parts(requests: UploadRequests, content: memoryview, *, part_bytes: int) -> None:
    """Raises StoreErrors; then the parts that were sent are taken back, if the store still listens."""
    created = await requests.attempts(partial(requests.call, "create_multipart_upload"))
    upload = created["UploadId"]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(requests.attempts(partial(_send, requests, upload, number, part)))
                for number, part in _parts(content, part_bytes)
            ]
        parts = [task.result() for task in tasks]
        await requests.attempts(partial(_complete, requests, upload, parts, len(content)))
    except BaseException:
        with suppress(Exception):  # the first error tells more
            await requests.call("abort_multipart_upload", UploadId=upload)
        raise


async def _send(requests: UploadRequests, upload: str, number: int, part: memoryview) -> dict[str, Any]:
    async with requests.slots:
        answer = await requests.call("upload_part", UploadId=upload, PartNumber=number, Body=bytes(part))
    return {"PartNumber": number, "ETag": answer["ETag"]}


async def _complete(
    requests: UploadRequests, upload: str, parts: list[dict[str, Any]], expected: int
) -> None:
    """After a lost answer the store knows no such upload any more: then the object tells."""
    try:
        await requests.call("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts})
    except Exception:
        with suppress(Exception):
            if await requests.size() == expected:
                return
        raise


def _parts(content: memoryview, part_bytes: int) -> Iterator[tuple[int, memoryview]]:
    """Numbered from 1."""
    step = max(part_bytes, -(-len(content) // _MAX_PARTS))
    for number, start in enumerate(range(0, len(content), step), start=1):
        yield number, content[start : start + step]
