"""Where each tensor lies in the safetensors files of a folder, from their headers alone.

The format: 8 bytes with the header's length, little-endian, a JSON header, then the tensors' bytes. No torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from deepseek_workloads.plan.configs.int8 import COLUMNS, PACKED, SCALE, SHAPE
from deepseek_workloads.store.interface import ByteRange, ObjectInfo, ObjectStore

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100 * 1024 * 1024  # what the reference reader allows
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
SCALED = "F8_E4M3"  # as DeepSeek-V3 is published: a factor for each block of a matrix lies beside it
SCALE_BLOCK = 128  # rows and columns
INT8 = "int8"  # no dtype of the format: bytes of `export.packed_int8`, and a factor for each row
_SCALES = "_scale_inv"  # behind the matrix's name
_OF_INT8 = {"I32": 4, "I64": 8}  # what such matrices are stored as, and their shapes
_BYTES = {**ITEM_BYTES, **_OF_INT8, INT8: 1}
_FLOATS = ("F32", "F16", "BF16")


class SafetensorsError(ValueError):
    """A header that is none, or tells of tensors that we do not read."""


@dataclass(frozen=True)
class StoredTensor:
    key: str
    etag: str
    start: int  # first byte within the object
    shape: tuple[int, ...]
    dtype: str  # of ITEM_BYTES, or INT8
    scales: "StoredTensor | None" = None  # of SCALED: float32 [rows, columns] of blocks; of INT8: [rows, 1]

    @property
    def row_bytes(self) -> int:
        """Of one index of the first dimension."""
        return prod(self.shape[1:]) * _BYTES[self.dtype]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * _BYTES[self.dtype]

    def rows(self, first: int, last: int) -> ByteRange:
        """Bytes of the rows from `first` up to but without `last`."""
        start = self.start + first * self.row_bytes
        return ByteRange(self.key, start, self.start + last * self.row_bytes, self.etag)

    def scale_rows(self, first: int, last: int) -> ByteRange:
        """Bytes of the factors of the rows from `first` up to but without `last`."""
        assert self.scales is not None
        block = SCALE_BLOCK if self.dtype == SCALED else 1
        return self.scales.rows(first // block, -(-last // block))


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
        if _belongs_to_another(name, tensors):
            continue
        if name.endswith(PACKED) and tensor.dtype == "I32":
            scaled[name.removesuffix(PACKED)] = _int8(uri, name.removesuffix(PACKED), tensors)
            continue
        if tensor.dtype in _OF_INT8:
            raise SafetensorsError(f"{uri}: {name}: {_unread(tensor.dtype)}")
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


def _belongs_to_another(name: str, names: Mapping[str, StoredTensor]) -> bool:
    if name.endswith(_SCALES):
        return name.removesuffix(_SCALES) in names
    return any(name.endswith(end) and name.removesuffix(end) + PACKED in names for end in (SCALE, SHAPE))


def _int8(uri: str, name: str, tensors: Mapping[str, StoredTensor]) -> StoredTensor:
    content, scales = tensors[name + PACKED], tensors.get(name + SCALE)
    expected = (*content.shape[:1], 1)
    if scales is None or scales.shape != expected or scales.dtype not in _FLOATS or len(content.shape) != 2:
        has = "no" if scales is None else f"{scales.dtype} {list(scales.shape)} as"
        raise SafetensorsError(
            f"{uri}: {name}{PACKED} {list(content.shape)} has {has} {SCALE}: must be a matrix with one of "
            f"{', '.join(_FLOATS)} {list(expected)}; convert it to BF16"
        )
    rows, columns = content.shape
    return replace(content, shape=(rows, columns * COLUMNS), dtype=INT8, scales=scales)


def _unread(dtype: str) -> str:
    return f"dtype {dtype}: must be one of {', '.join(ITEM_BYTES)}; convert quantised weights to BF16"


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
    if dtype not in _BYTES:
        raise SafetensorsError(_unread(dtype))
    start, end = (int(offset) for offset in offsets)
    if end - start != prod(shape) * _BYTES[dtype] or base + end > file.size:
        raise SafetensorsError(f"bytes {start} to {end} are not those of {shape} in {dtype}")
    return StoredTensor(file.key, file.etag, base + start, tuple(map(int, shape)), dtype)
