"""Int8 matrices as compressed-tensors packs them (`plan.configs.int8`), to bytes and back. It reads no files.

Four columns lie in one int32, the first in its lowest byte, each as value + 128: little-endian, the bytes of
a row are its values in order with the highest bit turned.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from deepseek_workloads.model.integers import Int8, to_int8
from deepseek_workloads.plan.configs.int8 import COLUMNS, PACKED, SCALE, SHAPE

_TURNED: Final = 0x80
SHAPE_BYTES: Final = 2 * 8


def packed(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Of a matrix [out, in] of any float dtype the three tensors that stand for it, rounded."""
    values, scale = to_int8(weight)
    content = (values.view(torch.uint8) ^ _TURNED).contiguous().view(torch.int32)
    return {name + PACKED: content, name + SCALE: scale, name + SHAPE: torch.tensor(weight.shape)}


def packed_bytes(weight: Tensor) -> int:
    """Of the three tensors."""
    return weight.numel() + weight.shape[0] * torch.float32.itemsize + SHAPE_BYTES


def can_be_packed(weight: Tensor) -> bool:
    return weight.ndim >= 2 and weight.shape[-1] % COLUMNS == 0


def unpacked(content: Tensor) -> Tensor:
    """uint8 [out, in], the bytes of what is packed -> int8 of the same shape."""
    return (content ^ _TURNED).view(torch.int8)


def whole(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor | Int8]]:
    """Of one file, each matrix under its name once. Raises ValueError for one that lacks its scales."""
    for name, tensor in tensors.items():
        matrix = name.removesuffix(PACKED)
        if name != matrix and tensor.dtype == torch.int32:
            scale = tensors.get(matrix + SCALE)
            if scale is None or scale.shape != (tensor.shape[0], 1):
                has = "no" if scale is None else f"{list(scale.shape)} as"
                raise ValueError(f"{name} has {has} {SCALE}: must be {[tensor.shape[0], 1]}")
            yield matrix, Int8(unpacked(tensor.view(torch.uint8)), scale.float())
        elif not _beside(name, tensors):
            yield name, tensor


def _beside(name: str, names: Iterable[str]) -> bool:
    """Whether it is about a packed matrix."""
    return any(name.endswith(end) and name.removesuffix(end) + PACKED in names for end in (SCALE, SHAPE))
