"""What each rank tells rank 0 of the files of a checkpoint that it has uploaded, or why it could not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.store.interface import StoreError


@dataclass(frozen=True)
class Uploaded:
    files: Sequence[FileEntry]
    chunks: Mapping[Any, Any]  # MetadataIndex -> StoredChunk


def all_uploaded(uploads: Sequence[Uploaded | Exception]) -> list[Uploaded]:
    """Raises what went wrong on some rank: of several errors the one that explains most, a final before a
    transient one."""
    errors = [upload for upload in uploads if isinstance(upload, Exception)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, StoreError) and error.transient)
    return [upload for upload in uploads if isinstance(upload, Uploaded)]


def file_entry(key: str, content: bytes | memoryview) -> FileEntry:
    return FileEntry(key=key, size=len(content), checksum=object_checksum(content))
