"""Products of routed experts in float8 (e4m3): rows and columns have scales, which are powers of two.

What torchao does for `nn.Linear`, for grouped products: each row of the left operand and column of the right
is rounded with a scale of its own. Where a device has no such kernel, rounded numbers are multiplied in the
dtype that they came in: slower, and the same numbers.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_workloads.model.grouped_network import grouped_linear

ALIGNMENT: Final = 16  # of both dimensions of a matrix: others are not rounded, on no device
CAPABILITY: Final = (9, 0)  # of CUDA devices: the first with scales for rows
_LARGEST: Final = torch.finfo(torch.float8_e4m3fn).max  # 448
_SMALLEST: Final = 2.0**-100  # of a scale: rows of zeros have one too


def has_float8(device: torch.device) -> bool:
    """Whether its kernels multiply float8 with a scale for each row."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY


def fits_float8(*sizes: int) -> bool:
    return all(size % ALIGNMENT == 0 for size in sizes)


def float8_grouped_linear(rows: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    """As `grouped_network.grouped_linear`, with both operands in float8: `rows` [M, in] sorted by group,
    `matrices` [E, in, out] -> [M, out] in the dtype of `rows`."""
    if not fits_float8(*matrices.shape[1:]):
        return grouped_linear(rows, matrices, counts)
    left, left_scale = to_float8(rows, dim=1)
    right, right_scale = to_float8(matrices, dim=1)
    if not has_float8(rows.device):
        return grouped_linear(
            widened(left, left_scale, rows.dtype), widened(right, right_scale, rows.dtype), counts
        )
    product: Tensor = F.scaled_grouped_mm(  # type: ignore[attr-defined]  # torch's stubs lack it
        left,
        right.transpose(1, 2).contiguous().transpose(1, 2),  # the kernel reads columns
        left_scale.squeeze(1),
        F.ScalingType.RowWise,
        right_scale.squeeze(1),
        F.ScalingType.RowWise,
        offs=counts.cumsum(0, dtype=torch.int32),
        output_dtype=rows.dtype,
        use_fast_accum=True,
    )
    return product


def to_float8(values: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """Float8 of the same shape, and float32 scales with size 1 in `dim`, the dimension that a product sums
    over: values = float8 * scale, to three bits. Scales are powers of two, so that they add no error."""
    exact = values.float()
    largest = exact.abs().amax(dim, keepdim=True)
    scale = torch.exp2(torch.ceil(torch.log2(largest / _LARGEST))).clamp(min=_SMALLEST)
    return (exact / scale).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn), scale


def widened(values: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers that float8 and its scale stand for."""
    return (values.float() * scale).to(dtype)
