"""First weights: each tensor from its own random stream, so that no layout changes them.

It knows names and shapes, not modules.
"""

import hashlib

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


@torch.no_grad()
def initialize(model: nn.Module, *, seed: int, std: float) -> None:
    """Norms are one, biases zero, everything else normal with `std`. Parameters may be DTensors; each rank
    draws the whole tensor on the CPU and keeps its shard, one tensor at a time."""
    for name, parameter in model.named_parameters():
        _assign(parameter, _first_value(name, parameter.shape, seed=seed, std=std))
    for buffer in model.buffers():
        buffer.zero_()


def _first_value(name: str, shape: torch.Size, *, seed: int, std: float) -> Tensor:
    if name.endswith(".bias"):
        return torch.zeros(shape)
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    stream = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(stream[:8], "little", signed=True))
    return torch.empty(shape).normal_(std=std, generator=generator)


def _assign(parameter: Tensor, value: Tensor) -> None:
    if isinstance(parameter, DTensor):
        local = parameter.to_local()
        placed = value.to(local.device)
        shard = distribute_tensor(placed, parameter.device_mesh, parameter.placements, src_data_rank=None)
        local.copy_(shard.to_local())
    else:
        parameter.copy_(value)
