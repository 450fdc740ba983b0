"""Symmetric integers for the rows of a matrix, rounded to nearest, each row with a scale of its own.

Values are `integers * scale`, multiplied in float32: whoever widens them gets the same numbers, bit by bit.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

_EPS: Final = 1e-12  # of a scale times the largest integer: rows of zeros have one too


class Int8(NamedTuple):
    """A matrix, or several. [..., out, in] and [..., out, 1]."""

    values: Tensor  # int8, -127 to 127
    scale: Tensor  # float32


def to_integers(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """[..., n] -> whole numbers of the same shape, of 2**bits - 1 possible ones, and scales [..., 1]; both
    float32."""
    exact = rows.float()
    largest = 2 ** (bits - 1) - 1
    scale = exact.abs().amax(-1, keepdim=True).clamp(min=_EPS) / largest
    return (exact / scale).round().clamp(-largest, largest), scale


def to_int8(weight: Tensor) -> Int8:
    """[..., out, in] of any float dtype."""
    whole, scale = to_integers(weight, bits=8)
    return Int8(whole.to(torch.int8), scale)


def widened(matrix: Int8) -> Tensor:
    """The numbers that it stands for, float32 [..., out, in]."""
    return matrix.values.float() * matrix.scale
