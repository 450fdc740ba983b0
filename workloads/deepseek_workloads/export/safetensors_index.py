"""Where each tensor lies in the safetensors files of a folder, from their headers alone.

The format: 8 bytes with the header's length, little-endian, a JSON header, then the tensors' bytes. No torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from deepseek_workloads.store.interface import ByteRange, ObjectInfo, ObjectStore

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100 * 1024 * 1024  # what the reference reader allows
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
SCALED = "F8_E4M3"  # as DeepSeek-V3 is published: a factor for each block of a matrix lies beside it
SCALE_BLOCK = 128  # rows and columns
_SCALES = "_scale_inv"  # behind the matrix's name


class SafetensorsError(ValueError):
    """A header that is none, or tells of tensors that we do not read."""


@dataclass(frozen=True)
class StoredTensor:
    key: str
    etag: str
    start: int  # first byte within the object
    shape: tuple[int, ...]
    dtype: str  # of ITEM_BYTES
    scales: "StoredTensor | None" = None  # of SCALED: float32 [rows, columns] of blocks

    @property
    def row_bytes(self) -> int:
        """Of one index of the first dimension."""
        return prod(self.shape[1:]) * ITEM_BYTES[self.dtype]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]

    def rows(self, first: int, last: int) -> ByteRange:
        """Bytes of the rows from `first` up to but without `last`."""
        start = self.start + first * self.row_bytes
        return ByteRange(self.key, start, self.start + last * self.row_bytes, self.etag)

    def scale_rows(self, first: int, last: int) -> ByteRange:
        """Bytes of the factors of the rows from `first` up to but without `last`."""
        assert self.scales is not None
        return self.scales.rows(first // SCALE_BLOCK, -(-last // SCALE_BLOCK))


def stored_tensors(store: ObjectStore, files: Sequence[ObjectInfo]) -> dict[str, StoredTensor]:
    """By the name on disk. Raises SafetensorsError and StoreErrors."""
    lengths = store.read_ranges([ByteRange(file.key, 0, _LENGTH_BYTES, file.etag) for file in files])
    sizes = [int.from_bytes(length, "little") for length in lengths]
    for file, size in zip(files, sizes, strict=True):
        if not 0 < size <= min(_MAX_HEADER_BYTES, file.size - _LENGTH_BYTES):
            raise SafetensorsError(f"{store.uri}/{file.key}: its first bytes are no header of safetensors")
    headers = store.read_ranges(
        [
            ByteRange(file.key, _LENGTH_BYTES, _LENGTH_BYTES + size, file.etag)
            for file, size in zip(files, sizes, strict=True)
        ]
    )
    found: dict[str, StoredTensor] = {}
    for file, size, header in zip(files, sizes, headers, strict=True):
        found.update(_tensors(f"{store.uri}/{file.key}", file, _LENGTH_BYTES + size, header))
    return _with_scales(store.uri, found)


def _with_scales(uri: str, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Without the tensors of factors, which belong to others."""
    scaled: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_SCALES) and name.removesuffix(_SCALES) in tensors:
            continue
        if tensor.dtype == SCALED:
            scales = tensors.get(name + _SCALES)
            blocks = tuple(-(-size // SCALE_BLOCK) for size in tensor.shape)
            if scales is None or (scales.shape, scales.dtype, len(blocks)) != (blocks, "F32", 2):
                has = "no" if scales is None else f"{scales.dtype} {list(scales.shape)} as"
                raise SafetensorsError(
                    f"{uri}: {name} in {SCALED} has {has} {_SCALES}: must be a matrix with F32 {blocks}; "
                    "convert it to BF16"
                )
            tensor = replace(tensor, scales=scales)
        scaled[name] = tensor
    return scaled


def _tensors(uri: str, file: ObjectInfo, base: int, header: bytes) -> dict[str, StoredTensor]:
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        return {name: _tensor(file, base, entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafetensorsError(f"{uri}: header of safetensors: {error}") from error


def _tensor(file: ObjectInfo, base: int, entry: dict[str, object]) -> StoredTensor:
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise SafetensorsError("shape and data_offsets must be lists")
    dtype = str(entry["dtype"])
    if dtype not in ITEM_BYTES:
        raise SafetensorsError(
            f"dtype {dtype}: must be one of {', '.join(ITEM_BYTES)}; convert quantised weights to BF16"
        )
    start, end = (int(offset) for offset in offsets)
    if end - start != prod(shape) * ITEM_BYTES[dtype] or base + end > file.size:
        raise SafetensorsError(f"bytes {start} to {end} are not those of {shape} in {dtype}")
    return StoredTensor(file.key, file.etag, base + start, tuple(map(int, shape)), dtype)
