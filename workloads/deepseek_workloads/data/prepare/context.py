"""What every task of a preparation is told, and the names of what it writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deepseek_workloads.contract.layout import data_prefix
from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.contract.run_config import DatasetRun, Storage
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.prepare.text_models import NO_TEXT_MODELS, TextModels
from deepseek_workloads.store.interface import ByteRange, ObjectChanged, ObjectStore

OpenStore = Callable[[Storage], ObjectStore]


@dataclass(frozen=True)
class Context:
    run: DatasetRun
    attempt: str  # UUID, a function of raw objects and settings: a restart finds what was done
    open_store: OpenStore
    text_models: TextModels = NO_TEXT_MODELS
    # evaluation_sets.line_of each object that stages name, as it was before any work; None: not looked at
    inputs: tuple[str, ...] | None = None

    def key(self, name: str) -> str:
        return f"{data_prefix(self.attempt)}{name}"

    def quarantine_key(self, part: int, kind: str = "part") -> str:
        """`part`: what could not be read; `refused`: what could not become tokens; `stage_NAME`: what that
        stage could not treat."""
        return f"quarantine/{self.attempt}/{kind}-{part:05d}.jsonl"

    @contextmanager
    def output(self) -> Iterator[ObjectStore]:
        """Each task opens stores of its own: a client does not survive the way to another process."""
        with self.open(self.run.storage) as store:
            yield store

    @contextmanager
    def raw(self, source: int) -> Iterator[ObjectStore]:
        with self.open(
            self.run.raw_storage.model_copy(update={"uri": self.run.raw_sources[source].uri})
        ) as store:
            yield store

    @contextmanager
    def open(self, storage: Storage) -> Iterator[ObjectStore]:
        store = self.open_store(storage)
        try:
            yield store
        finally:
            store.close()


def put_file(store: ObjectStore, key: str, content: bytes) -> FileEntry:
    store.put(key, content)
    return FileEntry(key=key, size=len(content), checksum=object_checksum(content))


def read_file(store: ObjectStore, file: FileEntry) -> bytes:
    """Raises ObjectChanged when the object is not what its record says."""
    content = store.read_ranges([ByteRange(file.key, 0, file.size)])[0] if file.size else b""
    if object_checksum(content) != file.checksum:
        raise ObjectChanged(
            f"{store.uri}: {file.key}: its checksum is not {file.checksum}; delete data/ and retry"
        )
    return content
