"""Reads a checkpoint for torch.distributed.checkpoint: the planner is torch's, the bytes are verified by us.

How they were written is `checkpoint_writer`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.storage import StorageReader
from torch.futures import Future

from deepseek_workloads.data.checksum import chunk_checksum
from deepseek_workloads.store.interface import ByteRange, ObjectChanged, ObjectStore
from deepseek_workloads.train.checkpoint_index import CheckpointIndex, StoredChunk, dtype_of

INDEX_FILE = "metadata.json"
_READ_BYTES = 256 * 1024 * 1024  # of chunks in memory at a time

ReadHeld = Callable[[Sequence[ByteRange]], Iterator[tuple[int, bytes | memoryview]]]


class ObjectStoreReader(StorageReader):
    """Reads what `index` names below `prefix`, and raises ObjectChanged for bytes that are not those.

    `held` is asked first: it gives, by number, what is nearer than the store. Wrong bytes of it count as
    none."""

    def __init__(
        self, store: ObjectStore, prefix: str, index: CheckpointIndex, *, held: ReadHeld | None = None
    ) -> None:
        self._store, self._prefix, self._held = store, prefix, held
        self.held_bytes = 0  # that were right
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
        for index, content in self._contents(list(wanted)):
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

    def _contents(
        self, indices: Sequence[MetadataIndex]
    ) -> Iterator[tuple[MetadataIndex, bytes | memoryview]]:
        missing = set(indices)
        for number, content in self._held(self._ranges(indices)) if self._held else ():
            index = indices[number]
            if chunk_checksum(content) == self._chunk(index).checksum:
                missing.discard(index)
                self.held_bytes += len(content)
                yield index, content
        for part in self._parts([index for index in indices if index in missing]):
            yield from zip(part, self._read(part), strict=True)

    def _ranges(self, indices: Sequence[MetadataIndex]) -> list[ByteRange]:
        chunks = [self._chunk(index) for index in indices]
        return [ByteRange(self._prefix + chunk.file, chunk.start, chunk.end) for chunk in chunks]

    def _read(self, indices: Sequence[MetadataIndex]) -> list[bytes]:
        chunks = [self._chunk(index) for index in indices]
        contents = self._store.read_ranges(self._ranges(indices))
        for chunk, content in zip(chunks, contents, strict=True):
            found = chunk_checksum(content)
            if found != chunk.checksum:
                raise ObjectChanged(
                    f"{self._store.uri}/{self._prefix}{chunk.file}: bytes {chunk.start} to {chunk.end} have "
                    f"{found}, the checkpoint's index says {chunk.checksum}: the object was damaged"
                )
        return contents

    def _decode(self, index: MetadataIndex, content: bytes | memoryview) -> Tensor:
        dtype, shape = self._dtypes[index.fqn], self._chunk(index).shape
        if not content:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(content), dtype=dtype).view(shape)


def _copy(item: ReadItem, piece: Tensor, planner: LoadPlanner) -> None:
    for dimension, (start, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
        piece = piece.narrow(dimension, start, length)
    target = planner.resolve_tensor(item).detach()
    target.copy_(piece)
    planner.commit_tensor(item, target)
