"""Weights and gradients as counts by size, made where the tensors are: what TensorBoard draws.

Of this rank's part of them: its shards, where the model is sharded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

BINS: Final = 64


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
    """`weights/NAME` of every parameter, and `gradients/NAME` of those that have one."""
    for name, parameter in model.named_parameters():
        for kind, tensor in (("weights", parameter), ("gradients", parameter.grad)):
            made = None if tensor is None else histogram(tensor)
            if made is not None:
                yield f"{kind}/{name}", made


@torch.no_grad()
def histogram(tensor: Tensor) -> Histogram | None:
    """None: nothing there, or no finite range."""
    values = (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach().float().flatten()
    if values.numel() == 0 or not bool(values.isfinite().all()):
        return None
    low, high = values.min().item(), values.max().item()
    if low == high:
        high = low + 1e-12 + abs(low) * 1e-6
    counts = torch.histc(values, bins=BINS, min=low, max=high)
    width = (high - low) / BINS
    return Histogram(
        smallest=low,
        largest=high,
        number=values.numel(),
        total=values.sum(dtype=torch.float64).item(),
        total_of_squares=values.double().square().sum().item(),
        limits=[low + width * (index + 1) for index in range(BINS)],
        counts=counts.tolist(),
    )
