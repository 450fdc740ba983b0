"""A rank's part of a checkpoint as safetensors files: which piece lies where, and their bytes in memory.

A file is laid out once. Each checkpoint then copies its pieces to their places, and the bytes are uploaded
from where they lie: a state is held once more than it is, and nothing is allocated after the first time.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.planner import WriteItem, WriteItemType
from torch.distributed.checkpoint.utils import find_tensor_shard

from deepseek_workloads.data.checksum import chunk_checksum
from deepseek_workloads.train.checkpoint_index import StoredChunk

_WORD = 8  # bytes
_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_FILE_BYTES = 64 * 1024 * 1024  # files are closed when they reach it


@dataclass(frozen=True)
class FileLayout:
    """What lies in one file."""

    name: str
    items: tuple[WriteItem, ...]


def file_layouts(items: Sequence[WriteItem], *, rank: int) -> list[FileLayout]:
    """In the plan's order; a file is closed when it reaches its size. Raises TypeError for what is no
    tensor: it would have to be pickled."""
    return [
        FileLayout(f"rank{rank:05d}-{number:05d}.safetensors", tuple(file))
        for number, file in enumerate(_files(items))
    ]


def _files(items: Sequence[WriteItem]) -> Iterator[list[WriteItem]]:
    file: list[WriteItem] = []
    size = 0
    for item in items:
        file.append(item)
        size += _sizes(item).numel() * _dtype(item).itemsize
        if size >= _FILE_BYTES:
            yield file
            file, size = [], 0
    if file:
        yield file


class StagedFile:
    """The bytes of one file. `pinned`: in memory that a GPU copies to by itself."""

    def __init__(self, layout: FileLayout, *, pinned: bool) -> None:
        self.name, self._pinned = layout.name, pinned
        self._items = {_piece_name(item): item for item in layout.items}
        header, self._places = _laid_out(self._items)
        size = max((end for _, end in self._places.values()), default=len(header))
        self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        self._bytes[: len(header)] = torch.frombuffer(bytearray(header), dtype=torch.uint8)

    def stage(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies the pieces from `tensors`. Into pinned memory they are only begun: synchronize after."""
        for name, item in self._items.items():
            piece = find_tensor_shard(tensors[item.index.fqn], item.index).detach()
            start, end = self._places[name]
            if start < end:
                place = self._bytes[start:end].view(piece.dtype).view(piece.shape)
                place.copy_(piece, non_blocking=self._pinned)

    @property
    def content(self) -> memoryview:
        return self._bytes.numpy().data

    def chunks(self) -> list[tuple[MetadataIndex, StoredChunk]]:
        """What the checkpoint's index says of each piece, checksums included."""
        return [(item.index, self._chunk(name, item)) for name, item in self._items.items()]

    def _chunk(self, name: str, item: WriteItem) -> StoredChunk:
        start, end = self._places[name]
        return StoredChunk(
            offsets=list(item.index.offset or ()),
            shape=list(_sizes(item)),
            file=self.name,
            start=start,
            end=end,
            checksum=chunk_checksum(self.content[start:end]),
        )


def _sizes(item: WriteItem) -> torch.Size:
    if item.type == WriteItemType.BYTE_IO or item.tensor_data is None:
        raise TypeError(f"{item.index.fqn}: only tensors are stored in a checkpoint")
    return item.tensor_data.chunk.sizes


def _dtype(item: WriteItem) -> torch.dtype:
    assert item.tensor_data is not None
    return item.tensor_data.properties.dtype


def _piece_name(item: WriteItem) -> str:
    return f"{item.index.fqn}@{','.join(map(str, item.index.offset or ()))}"


def _laid_out(items: Mapping[str, WriteItem]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The file up to its first tensor, and of each tensor its first byte and one past its last.

    The format (https://huggingface.co/docs/safetensors): a little-endian u64 with the length of a JSON
    header, the header, the data without gaps. Larger dtypes first and a header of whole words keep each
    tensor where its dtype may lie.
    """
    at = 0
    offsets: dict[str, tuple[int, int]] = {}
    for name, item in sorted(items.items(), key=lambda named: -_dtype(named[1]).itemsize):
        end = at + _sizes(item).numel() * _dtype(item).itemsize
        offsets[name], at = (at, end), end
    described = {
        name: {
            "dtype": _DTYPE_NAMES[_dtype(items[name])],
            "shape": list(_sizes(items[name])),
            "data_offsets": list(place),
        }
        for name, place in offsets.items()
    }
    document = json.dumps(described, separators=(",", ":")).encode()
    document += b" " * (-len(document) % _WORD)
    header = len(document).to_bytes(_WORD, "little") + document
    return header, {name: (len(header) + at, len(header) + end) for name, (at, end) in offsets.items()}
