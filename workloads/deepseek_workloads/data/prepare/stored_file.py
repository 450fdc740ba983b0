"""A stored object as a file: for libraries that want to seek, and for streams that are compressed.

It does not know what lies in the object. `read` is any function from (start, end) to bytes.
"""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import zstandard

from deepseek_workloads.data.prepare.compression import compression_of

ReadBytes = Callable[[int, int], bytes]
READ_BYTES: Final = 8 * 1024 * 1024
MAX_WINDOW_BYTES: Final = 128 * 1024 * 1024  # of zstd: what `zstd --long` writes, and what a task can hold


class CannotDecompress(ValueError):
    """The rest of the object is lost: it is damaged, cut off, or compressed in another way than it says."""


class StoredFile(io.RawIOBase):
    def __init__(self, read: ReadBytes, *, size: int) -> None:
        self._read, self._size, self._position = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: "memoryview[int] | bytearray") -> int:  # type: ignore[override]
        end = min(self._size, self._position + len(buffer))
        if end <= self._position:
            return 0
        content = self._read(self._position, end)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


@contextmanager
def open_stored(read: ReadBytes, *, key: str, size: int) -> Iterator[io.BufferedIOBase]:
    """A file of the object's bytes, decompressed where its name says so; it is read once, from its beginning.
    Reading it raises CannotDecompress, and what `read` raises."""
    raw = io.BufferedReader(StoredFile(read, size=size), READ_BYTES)
    match compression_of(key):
        case None:
            yield raw
        case "gzip":
            with gzip.GzipFile(fileobj=raw, mode="rb") as file:
                yield io.BufferedReader(_Decompressed(file.read1))
        case "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
            with decompressor.stream_reader(raw, read_across_frames=True) as stream:
                yield io.BufferedReader(_Decompressed(stream.read1))


class _Decompressed(io.RawIOBase):
    """Tells the errors of the libraries by one name."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int] | bytearray") -> int:  # type: ignore[override]
        try:
            content = self._read(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise CannotDecompress(f"cannot be decompressed from here on: {error}") from error
        buffer[: len(content)] = content
        return len(content)


def chunks_of(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Raises what reading the file raises, after all that could be read before it."""
    while chunk := file.read1(READ_BYTES):
        yield chunk
