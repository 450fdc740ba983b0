"""What the memory of one pod holds of a checkpoint: whole files of a tmpfs, which outlives its processes.

It knows keys and bytes, neither ranks nor records. Every process of the pod may use it at the same time.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.layout import DATA_PREFIX
from deepseek_workloads.contract.run_config import TrainingRun

_UNFINISHED = "."  # begins the name of a file that is being written


class UnfinishedFile:
    """Seen by no reader before `finish`. Every method raises OSError."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._partial = path, path.with_name(f"{_UNFINISHED}{path.name}.{uuid.uuid4().hex}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("w+b", buffering=0)
        try:
            os.posix_fallocate(self._file.fileno(), 0, max(1, size))  # where there is room, it stays
            os.ftruncate(self._file.fileno(), size)
        except OSError:
            self.discard()
            raise

    def write(self, at: int, content: bytes | bytearray | memoryview) -> None:
        view = memoryview(content)
        while view:
            written = os.pwrite(self._file.fileno(), view, at)
            view, at = view[written:], at + written

    def content(self) -> bytes:
        return self._partial.read_bytes()

    def finish(self) -> None:
        self._file.close()
        self._partial.replace(self._path)

    def discard(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)


class ReplicaFolder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def keys(self, prefix: str) -> frozenset[str]:
        """Of the whole files below it."""
        with suppress(FileNotFoundError):
            names = [path.name for path in (self._root / prefix).iterdir()]
            return frozenset(prefix + name for name in names if not name.startswith(_UNFINISHED))
        return frozenset()

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """None: it is not there, or is shorter."""
        try:
            with (self._root / key).open("rb") as file:
                end = os.fstat(file.fileno()).st_size if end is None else end
                file.seek(start)
                content = file.read(end - start)
        except OSError:
            return None
        return content if len(content) == end - start else None

    def read_or_zeros(self, key: str, start: int, end: int) -> bytes:
        """For another rank, which waits for so many bytes: those of zeros have another checksum."""
        content = self.read(key, start, end)
        return bytes(end - start) if content is None else content

    def begin(self, key: str, size: int) -> UnfinishedFile:
        """Raises OSError, without room for it."""
        return UnfinishedFile(self._root / key, size)

    def put(self, key: str, content: bytes | memoryview) -> None:
        """Raises OSError; then there is nothing of it."""
        file = self.begin(key, len(content))
        try:
            file.write(0, content)
            file.finish()
        except OSError:
            file.discard()
            raise

    def forget_all_but(self, prefix: str) -> None:
        kept = (self._root / prefix).name
        with suppress(FileNotFoundError):
            for path in (self._root / DATA_PREFIX).iterdir():
                if path.name != kept:
                    shutil.rmtree(path, ignore_errors=True)  # the pod's other processes do the same


@dataclass(frozen=True)
class MemoryReplicas:
    """As one rank sees them."""

    folder: ReplicaFolder
    pod: str  # where its folder is
    copies: int  # pods that keep each file


def memory_replicas(run: TrainingRun, *, environ: Mapping[str, str] = os.environ) -> MemoryReplicas | None:
    """None: the run wants none, or this is no pod that has the memory for them (`launch.local`)."""
    root = environ.get(environment.MEMORY_REPLICAS_DIR)
    copies = run.checkpoint.memory_replicas
    if copies is None or not root:
        return None
    return MemoryReplicas(ReplicaFolder(Path(root)), environ.get(environment.POD_NAME, ""), copies)


def said(error: OSError) -> str:
    """For the user of a run."""
    if error.errno in (errno.ENOSPC, errno.ENOMEM):
        return (
            "the pod has no memory left for a copy of the checkpoint, a restart would ask the store for it: "
            "raise workers.resources.memory, or lower checkpoint.memoryReplicas"
        )
    return f"the pod's memory holds no copy of the checkpoint: {error.strerror}"
