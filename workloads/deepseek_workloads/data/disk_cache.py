"""Blocks kept on a disk of the node: shared by the processes of a pod, bounded, given up when it is full.

A file is named by what it holds (store, key, ETag, range), so a changed object is never served; whoever reads
it verifies it. The least recently used goes first. It does not know tokens.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from deepseek_workloads.store.interface import ByteRange

_log = logging.getLogger(__name__)


class DiskCache:
    """For any number of processes on one folder, and any number of threads. Never raises OSError."""

    def __init__(self, folder: Path, *, capacity_bytes: int) -> None:
        self.enabled = True
        self._folder = folder
        self._capacity_bytes = capacity_bytes

    def get(self, uri: str, asked: ByteRange) -> bytes | None:
        """None: not there. `asked` has an ETag."""
        path = self._folder / _name(uri, asked)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, uri: str, asked: ByteRange, content: bytes) -> None:
        if not self.enabled or len(content) > self._capacity_bytes:
            return
        unfinished = self._folder / f"{uuid.uuid4().hex}.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(len(content))
            unfinished.write_bytes(content)
            unfinished.replace(self._folder / _name(uri, asked))
        except OSError as error:
            self.enabled = False
            _log.warning("%s: %s: blocks are not kept on disk from here on", self._folder, error.strerror)
            self._remove(unfinished)

    def _make_room(self, size: int) -> None:
        found = sorted(self._entries())
        excess = sum(held for _, held, _ in found) + size - self._capacity_bytes
        for _, held, path in found:
            if excess <= 0:
                return
            self._remove(path)
            excess -= held

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """When it was used, bytes, and where."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # another process gave it up
                yield status.st_mtime, status.st_size, Path(entry.path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s: %s", path, error.strerror)


def _name(uri: str, asked: ByteRange) -> str:
    said = f"{uri}\n{asked.key}\n{asked.etag}\n{asked.start}\n{asked.end}"
    return hashlib.sha256(said.encode()).hexdigest()
