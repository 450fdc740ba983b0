"""Folders, for file:// and pvc://: the same promises as S3 from link(2), rename(2) and fsync(2).

An object is a file; what is being written has a name below `.tmp/` that listings leave out.
"""

import errno
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from deepseek_workloads.store.interface import (
    AccessDenied,
    AlreadyExists,
    ByteRange,
    NotFound,
    ObjectChanged,
    ObjectInfo,
    StoreError,
)
from deepseek_workloads.store.probe import UnsafeStore

_TEMPORARY = ".tmp"
_COPY_CHUNK = 16 * 1024 * 1024  # bytes
_PUBLISH_ATTEMPTS = 8
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # what file systems without hard links say


class FileObjectStore:
    """An ObjectStore below a folder, which is created on the first write. `uri`: what the folder is called
    where that is not its path."""

    def __init__(self, root: Path, *, uri: str | None = None) -> None:
        self._root = root
        self.uri = uri.rstrip("/") if uri else f"file://{root}"

    @property
    def retries(self) -> int:
        return 0

    @property
    def hedges(self) -> int:
        return 0

    def read(self, key: str) -> bytes:
        with _mapped(self._uri(key)):
            return self._path(key).read_bytes()

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        return [self._read_range(asked) for asked in ranges]

    def read_with_info(self, ranges: Sequence[ByteRange]) -> list[tuple[bytes, ObjectInfo]]:
        return [self._read(asked) for asked in ranges]

    def stat(self, key: str) -> ObjectInfo:
        with _mapped(self._uri(key)):
            return _info(key, self._path(key).stat())

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = self._root / prefix.rpartition("/")[0]
        keys = sorted(key for key in _keys_below(folder, self._root) if key.startswith(prefix))
        for key in keys:
            try:
                yield self.stat(key)
            except NotFound:
                continue  # deleted since it was listed

    def create(self, key: str, content: bytes) -> None:
        with _mapped(self._uri(key)):
            temporary, path = self._write_temporary(content), self._path(key)
            try:
                _in_folder(path.parent, lambda: self._link(temporary, path))
            finally:
                temporary.unlink()

    def put(self, key: str, content: bytes | memoryview) -> None:
        with _mapped(self._uri(key)):
            temporary, path = self._write_temporary(content), self._path(key)
            _in_folder(path.parent, lambda: temporary.replace(path))

    def put_file(self, key: str, path: Path) -> None:
        with _mapped(self._uri(key)):
            temporary, target = self._temporary(), self._path(key)
            _copy(path, temporary)
            _in_folder(target.parent, lambda: temporary.replace(target))

    def get_file(self, key: str, path: Path) -> None:
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with _mapped(self._uri(key)):
                _copy(self._path(key), partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with _mapped(self._uri(key)):
                path = self._path(key)
                path.unlink(missing_ok=True)
                _remove_empty_folders(path.parent, self._root)

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, asked: ByteRange) -> tuple[bytes, ObjectInfo]:
        uri = self._uri(asked.key)
        with _mapped(uri), self._path(asked.key).open("rb") as file:
            found = _info(asked.key, os.fstat(file.fileno()))
            if asked.etag and found.etag != asked.etag:
                raise ObjectChanged(f"{uri}: its ETag is {found.etag}, not {asked.etag}: it was overwritten")
            length = max(0, min(asked.end, found.size) - asked.start)  # memory is taken for no more
            return os.pread(file.fileno(), length, asked.start), found

    def _read_range(self, asked: ByteRange) -> bytes:
        content, _ = self._read(asked)
        if len(content) != asked.end - asked.start:
            raise ObjectChanged(
                f"{self._uri(asked.key)}: bytes {asked.start} to {asked.end} were asked for and "
                f"{len(content)} bytes came: the file is shorter than its record says"
            )
        return content

    def _link(self, source: Path, target: Path) -> None:
        """The one step of a file system that creates and never overwrites, on NFS too."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise UnsafeStore(
                f"{self.uri}: its file system has no hard links ({error.strerror}), by which a file is "
                "created only if there is none, so two writers could both commit; use a volume that has them "
                "(NFS, CephFS, Lustre, a disk), or an object store"
            ) from error

    def _temporary(self) -> Path:
        folder = self._root / _TEMPORARY
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex

    def _write_temporary(self, content: bytes | memoryview) -> Path:
        path = self._temporary()
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return path

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or parts[0] == _TEMPORARY:
            raise StoreError(f"{self.uri}: {key!r} is no key: it must be relative, without '..'")
        return self._root.joinpath(*parts)

    def _uri(self, key: str) -> str:
        return f"{self.uri}/{key}"


class _mapped:
    """Turns an OSError into the StoreError that says the same."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, FileExistsError):
            raise AlreadyExists(f"{self._uri}: the object exists already") from error
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise NotFound(f"{self._uri}: no such object; check the key and that it was written") from error
        if isinstance(error, PermissionError):
            raise AccessDenied(
                f"{self._uri}: {error.strerror}: "
                f"the volume must let uid {os.getuid()}, gid {os.getgid()} read and write there"
            ) from error
        if isinstance(error, OSError):
            raise StoreError(
                f"{self._uri}: {error.strerror}; check the volume and the space on it"
            ) from error


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}")


def _keys_below(folder: Path, root: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        if Path(parent) == root and _TEMPORARY in folders:
            folders.remove(_TEMPORARY)
        for name in files:
            yield Path(parent, name).relative_to(root).as_posix()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_COPY_CHUNK):
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())


def _in_folder(folder: Path, publish: Callable[[], object]) -> None:
    """Publishes durably into a folder that a concurrent delete may remove while it is empty."""
    for attempt in range(_PUBLISH_ATTEMPTS):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            publish()
            break
        except FileNotFoundError:
            if attempt + 1 == _PUBLISH_ATTEMPTS:
                raise
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty_folders(folder: Path, root: Path) -> None:
    """A file below `folder` makes rmdir fail, which is what is wanted."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
