"""The one interface to object storage. It knows keys below a URI, not what lies in them.

Implementations: `store.s3` (s3://, through s3fs), `store.obstore_objects` (gs:// and az://, through obstore)
and `store.file` (file:// and pvc://, a shared volume).
Every method blocks; callers that must not wait use a thread. All keys are relative to the store's URI.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BATCH_BYTES = 32 * 1024 * 1024  # that readers of large objects ask for at a time


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int  # bytes
    etag: str


@dataclass(frozen=True)
class ByteRange:
    key: str
    start: int  # first byte
    end: int  # one past the last byte
    etag: str | None = None  # when given, a changed object is an error that names it


class StoreError(Exception):
    """Base of what a store raises. The message names the URI and the remedy, never a credential."""

    reason = "StoreError"
    transient = False  # True: trying again later can help


class NotFound(StoreError):
    reason = "ObjectNotFound"


class BucketNotFound(StoreError):
    reason = "BucketNotFound"


class InvalidCredentials(StoreError):
    reason = "InvalidCredentials"


class AccessDenied(StoreError):
    reason = "AccessDenied"


class AlreadyExists(StoreError):
    """A conditional write lost: the object is there."""

    reason = "AlreadyExists"


class ObjectChanged(StoreError):
    """The ETag is not the pinned one, or a checksum does not match."""

    reason = "ObjectChanged"


class StoreUnavailable(StoreError):
    """The retry budget is used up on timeouts, resets, 5xx or SlowDown."""

    reason = "StoreUnreachable"
    transient = True


class ObjectStore(Protocol):
    """Retries of transient failures happen inside, with a budget; what is raised is final for the caller."""

    @property
    def uri(self) -> str: ...

    @property
    def retries(self) -> int:
        """Requests that were tried again since the store was opened."""
        ...

    @property
    def hedges(self) -> int:
        """Requests that got a copy since then, as they took far longer than others."""
        ...

    def read(self, key: str) -> bytes: ...

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Concurrent; neighbouring ranges of one object are fetched together."""
        ...

    def read_with_info(self, ranges: Sequence[ByteRange]) -> list[tuple[bytes, ObjectInfo]]:
        """Concurrent, one request each: also the object that a range is of, to pin what is read of it
        afterwards. Fewer bytes where the object ends before the range does."""
        ...

    def stat(self, key: str) -> ObjectInfo: ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Sorted by key. An empty prefix lists everything."""
        ...

    def create(self, key: str, content: bytes) -> None:
        """Publish: succeeds for one writer only, else AlreadyExists. After a lost response an own earlier
        success may be reported as AlreadyExists: callers compare the content."""
        ...

    def put(self, key: str, content: bytes | memoryview) -> None:
        """Unconditional; only below fresh prefixes. What is large is sent in parts, side by side."""
        ...

    def put_file(self, key: str, path: Path) -> None: ...

    def get_file(self, key: str, path: Path) -> None: ...

    def delete(self, keys: Sequence[str]) -> None:
        """Missing keys are not an error."""
        ...

    def close(self) -> None: ...


def parts_of(store: ObjectStore, file: ObjectInfo) -> Iterator[bytes]:
    """The whole object, a part at a time. Raises ObjectChanged when it is another one than `file`."""
    for start in range(0, file.size, BATCH_BYTES):
        end = min(start + BATCH_BYTES, file.size)
        yield from store.read_ranges([ByteRange(file.key, start, end, file.etag)])
