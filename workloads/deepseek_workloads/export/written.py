"""What becomes of a model's tensor in a safetensors file: itself in a dtype, or a packed int8 matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deepseek_workloads.export.packed_int8 import packed, packed_bytes
from deepseek_workloads.plan.configs.int8 import PACKED, SCALE, SHAPE


class Written(Protocol):
    """Its tensors are made when asked, each time anew: who keeps none has one file in memory at a time."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def tensors(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class AsItIs:
    name: str
    tensor: Tensor
    dtype: torch.dtype

    @property
    def names(self) -> Sequence[str]:
        return [self.name]

    @property
    def size(self) -> int:
        return self.tensor.numel() * self.dtype.itemsize

    def tensors(self) -> dict[str, Tensor]:
        # A copy: the slices of fused experts share memory, which the format does not know.
        return {self.name: self.tensor.detach().to(self.dtype, copy=True).contiguous()}


@dataclass(frozen=True)
class AsInt8:
    """A matrix [out, in]."""

    name: str
    tensor: Tensor

    @property
    def names(self) -> Sequence[str]:
        return [self.name + PACKED, self.name + SCALE, self.name + SHAPE]

    @property
    def size(self) -> int:
        return packed_bytes(self.tensor)

    def tensors(self) -> dict[str, Tensor]:
        return packed(self.name, self.tensor.detach())
