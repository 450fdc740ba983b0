"""Weights and gradients as counts by size, made where the tensors are: what TensorBoard draws.

Of this rank's part of them: its shards, where the model is sharded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

BINS: Final = 64
AT_ONCE: Final = 2**24  # values


@dataclass(frozen=True)
class Histogram:
    """`limits[i]` is the upper end of the bin that has `counts[i]`."""

    smallest: float
    largest: float
    number: int
    total: float
    total_of_squares: float
    limits: list[float]
    counts: list[float]


def histograms(model: nn.Module) -> Iterator[tuple[str, Histogram]]:
    """`weights/NAME` of every parameter, and `gradients/NAME` of those that have one, clipped as they were
    applied. Of a parameter that ranks share, this rank's: `weights_of_shard/NAME`."""
    for name, parameter in model.named_parameters():
        part = "_of_shard" if _is_shard(parameter) else ""
        for kind, tensor in (("weights", parameter), ("gradients", parameter.grad)):
            made = None if tensor is None else histogram(tensor)
            if made is not None:
                yield f"{kind}{part}/{name}", made


@torch.no_grad()
def histogram(tensor: Tensor) -> Histogram | None:
    """None: nothing there, or no finite range. Two copies to the host; a chunk is in memory beside it."""
    values = (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach().flatten()
    if values.numel() == 0:
        return None
    chunks = torch.split(values, AT_ONCE)
    of_chunks = torch.stack([_moments(chunk.float()) for chunk in chunks])
    ends = of_chunks[:, 0].amin(), of_chunks[:, 1].amax()
    low, high, total, squares = torch.stack([*ends, *of_chunks[:, 2:].sum(0)]).tolist()
    if not (isfinite(low) and isfinite(high)):
        return None
    if low == high:
        high = low + 1e-12 + abs(low) * 1e-6
    counts = torch.stack([_counts(chunk.float(), low, high) for chunk in chunks])
    width = (high - low) / BINS
    return Histogram(
        smallest=low,
        largest=high,
        number=values.numel(),
        total=total,
        total_of_squares=squares,
        limits=[low + width * (index + 1) for index in range(BINS)],
        counts=counts.sum(0).double().tolist(),
    )


def _is_shard(tensor: Tensor) -> bool:
    return isinstance(tensor, DTensor) and tensor.to_local().numel() < tensor.numel()


def _counts(values: Tensor, low: float, high: float) -> Tensor:
    """int64 [BINS]. Not by `torch.histc`, which is refused on GPUs where operations must be deterministic."""
    bins = ((values - low) * (BINS / (high - low))).clamp(0, BINS - 1).to(torch.int32)
    return torch.bincount(bins, minlength=BINS)


def _moments(values: Tensor) -> Tensor:
    """float64 [4]: smallest, largest, sum, sum of squares; NaN where one is."""
    norm = torch.linalg.vector_norm(values, dtype=torch.float64)
    ends = [end.double() for end in values.aminmax()]
    return torch.stack([*ends, values.sum(dtype=torch.float64), norm.square()])
