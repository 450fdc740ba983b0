"""torch.distributed.checkpoint over an ObjectStore: the planners are torch's, the bytes are ours.

A rank packs its pieces into safetensors files and puts them in parallel; rank 0 adds `metadata.json`. Nothing
here publishes: a checkpoint exists once the commit log says so (`checkpoint`).
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.data.checksum import chunk_checksum, object_checksum
from deepseek_workloads.store.interface import ByteRange, ObjectChanged, ObjectStore
from deepseek_workloads.train.checkpoint_index import CheckpointIndex, StoredChunk, dtype_of, index_of

INDEX_FILE = "metadata.json"
_FILE_BYTES = 64 * 1024 * 1024  # files are closed when they reach it
_CONCURRENT_FILES = 4
_READ_BYTES = 256 * 1024 * 1024  # of chunks in memory at a time


@dataclass(frozen=True)
class _Written:
    """What a rank tells rank 0 of a piece."""

    chunk: StoredChunk
    file: FileEntry


class ObjectStoreWriter(StorageWriter):
    """Writes below `prefix`, which must be fresh. After a save, rank 0 finds all files in `files`."""

    def __init__(self, store: ObjectStore, prefix: str, *, rank: int) -> None:
        self._store, self._prefix, self._rank = store, prefix, rank
        self.files: list[FileEntry] = []

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """One writer, one checkpoint."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Prefixes need no set-up."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        def write(numbered: tuple[int, list[WriteItem]]) -> list[WriteResult]:
            number, items = numbered
            return self._write_file(f"rank{self._rank:05d}-{number:05d}.safetensors", items, planner)

        with ThreadPoolExecutor(_CONCURRENT_FILES) as pool:
            written = list(pool.map(write, enumerate(_files(plan.items))))
        future: Future[list[WriteResult]] = Future()
        future.set_result([result for results in written for result in results])
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        flat = [result for of_rank in results for result in of_rank]
        index = index_of(metadata, {result.index: result.storage_data.chunk for result in flat})
        document = index.to_json()
        self._store.put(self._prefix + INDEX_FILE, document)
        files = {result.storage_data.file.key: result.storage_data.file for result in flat}
        self.files = [_entry(self._prefix + INDEX_FILE, document), *(files[key] for key in sorted(files))]

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003
        return True

    def _write_file(self, name: str, items: Sequence[WriteItem], planner: SavePlanner) -> list[WriteResult]:
        tensors = {_piece_name(item): _on_host(planner, item) for item in items}
        content: bytes = to_safetensors(tensors)
        file = _entry(self._prefix + name, content)
        self._store.put(file.key, content)
        places = _places(content)
        results = []
        for item in items:
            start, end = places[_piece_name(item)]
            chunk = StoredChunk(
                offsets=list(item.index.offset or ()),
                shape=list(tensors[_piece_name(item)].shape),
                file=name,
                start=start,
                end=end,
                checksum=chunk_checksum(memoryview(content)[start:end]),
            )
            results.append(WriteResult(item.index, end - start, _Written(chunk, file)))
        return results


class ObjectStoreReader(StorageReader):
    """Reads what `index` names below `prefix`, and raises ObjectChanged for bytes that are not those."""

    def __init__(self, store: ObjectStore, prefix: str, index: CheckpointIndex) -> None:
        self._store, self._prefix = store, prefix
        self._metadata = index.to_metadata()
        self._dtypes = {tensor.name: dtype_of(tensor.dtype) for tensor in index.tensors}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """One reader, one checkpoint."""

    def read_metadata(self, *_args: Any, **_kwargs: Any) -> Metadata:
        return self._metadata

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """The index is known already."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        wanted: dict[MetadataIndex, list[ReadItem]] = {}
        for item in plan.items:
            wanted.setdefault(item.storage_index, []).append(item)
        for part in self._parts(list(wanted)):
            for index, content in zip(part, self._read(part), strict=True):
                piece = self._decode(index, content)
                for item in wanted[index]:
                    _copy(item, piece, planner)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003
        return True

    def _chunk(self, index: MetadataIndex) -> StoredChunk:
        chunk: StoredChunk = self._metadata.storage_data[index]
        return chunk

    def _parts(self, indices: list[MetadataIndex]) -> Iterator[list[MetadataIndex]]:
        """Neighbours in a file together, so that they share requests; bounded in memory."""
        part: list[MetadataIndex] = []
        size = 0
        for index in sorted(indices, key=lambda index: (self._chunk(index).file, self._chunk(index).start)):
            part.append(index)
            size += self._chunk(index).end - self._chunk(index).start
            if size >= _READ_BYTES:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _read(self, indices: Sequence[MetadataIndex]) -> list[bytes]:
        chunks = [self._chunk(index) for index in indices]
        contents = self._store.read_ranges(
            [ByteRange(self._prefix + chunk.file, chunk.start, chunk.end) for chunk in chunks]
        )
        for chunk, content in zip(chunks, contents, strict=True):
            found = chunk_checksum(content)
            if found != chunk.checksum:
                raise ObjectChanged(
                    f"{self._store.uri}/{self._prefix}{chunk.file}: bytes {chunk.start} to {chunk.end} have "
                    f"{found}, the checkpoint's index says {chunk.checksum}: the object was damaged"
                )
        return contents

    def _decode(self, index: MetadataIndex, content: bytes) -> Tensor:
        dtype, shape = self._dtypes[index.fqn], self._chunk(index).shape
        if not content:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(content), dtype=dtype).view(shape)


def _files(items: Sequence[WriteItem]) -> Iterator[list[WriteItem]]:
    """In the plan's order; a file is closed when it reaches its size."""
    file: list[WriteItem] = []
    size = 0
    for item in items:
        if item.type == WriteItemType.BYTE_IO or item.tensor_data is None:
            raise TypeError(f"{item.index.fqn}: only tensors are stored in a checkpoint")
        file.append(item)
        properties = item.tensor_data.properties
        size += item.tensor_data.chunk.sizes.numel() * properties.dtype.itemsize
        if size >= _FILE_BYTES:
            yield file
            file, size = [], 0
    if file:
        yield file


def _piece_name(item: WriteItem) -> str:
    return f"{item.index.fqn}@{','.join(map(str, item.index.offset or ()))}"


def _on_host(planner: SavePlanner, item: WriteItem) -> Tensor:
    resolved = planner.resolve_data(item)
    assert isinstance(resolved, Tensor)
    # A copy also of what is on the CPU: safetensors refuses tensors that share memory, as tied ones do.
    return resolved.detach().to("cpu", copy=True).contiguous()


def _places(content: bytes) -> dict[str, tuple[int, int]]:
    """Of each tensor in a safetensors file: its first byte, and one past its last.

    The format: a little-endian u64 with the length of a JSON header, the header, the data.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _entry(key: str, content: bytes) -> FileEntry:
    return FileEntry(key=key, size=len(content), checksum=object_checksum(content))


def _copy(item: ReadItem, piece: Tensor, planner: LoadPlanner) -> None:
    for dimension, (start, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
        piece = piece.narrow(dimension, start, length)
    target = planner.resolve_tensor(item).detach()
    target.copy_(piece)
    planner.commit_tensor(item, target)
