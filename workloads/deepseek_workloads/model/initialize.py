"""First weights: each tensor from its own random stream, so that no layout changes them.

It knows names and shapes, not modules.
"""

import hashlib
import math
from collections.abc import Collection
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from deepseek_workloads.contract.architecture import Architecture

_NORMS = ("norm.weight", "layernorm_before.weight", "layernorm_after.weight")


@torch.no_grad()
def initialize(model: nn.Module, architecture: Architecture, *, seed: int, but: Collection[str] = ()) -> None:
    """Norms are one, biases zero, everything else normal, or as `initialization` says of its name. `but`:
    names that have their values already. Parameters may be DTensors; each rank draws the whole tensor on the
    CPU and keeps its shard, one tensor at a time."""
    for name, parameter in model.named_parameters():
        if name not in but:
            assign(parameter, _first_value(name, parameter.shape, seed=seed, architecture=architecture))
    for name, buffer in model.named_buffers():
        if name not in but:
            buffer.zero_()


def _first_value(name: str, shape: torch.Size, *, seed: int, architecture: Architecture) -> Tensor:
    if name.endswith((".bias", ".lora_B")):
        return torch.zeros(shape)
    if name.endswith(_NORMS):
        return torch.ones(shape)
    stream = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(stream[:8], "little", signed=True))
    scheme = _scheme(name, architecture)
    std = _standard_deviation(scheme, _sides(name, shape), architecture)
    if scheme.endswith("Uniform"):
        bound = math.sqrt(3) * std
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return torch.empty(shape).normal_(std=std, generator=generator)


def _scheme(name: str, architecture: Architecture) -> str:
    rules = architecture.initialization
    return next((rule.scheme for rule in rules if fnmatchcase(name, rule.pattern)), "normal")


def _sides(name: str, shape: torch.Size) -> tuple[int, int]:
    """(out, in) of each matrix of a tensor: experts are [E, out, in], gate and up one below the other; a
    convolution [out, in, height, width] is a product over all of its patch. A vector is a row."""
    if len(shape) == 4:
        return shape[0], math.prod(shape[1:])
    *_, out, into = (1, *shape)
    return (out // 2 if name.endswith(".gate_up_proj") else out), into


def _standard_deviation(scheme: str, sides: tuple[int, int], architecture: Architecture) -> float:
    """`sides`: (out, in) of a matrix."""
    if scheme == "scaledNormal":
        return architecture.initializer_range / math.sqrt(2 * architecture.num_hidden_layers)
    if scheme.startswith("xavier"):
        return math.sqrt(2 / sum(sides))
    if scheme.startswith("kaiming"):
        return math.sqrt(2 / sides[1])
    return architecture.initializer_range


@torch.no_grad()
def assign(parameter: Tensor, value: Tensor) -> None:
    """The whole `value`, which every rank has, into a tensor that may be a DTensor: each keeps its part, and
    no more of it goes to the parameter's device."""
    if not isinstance(parameter, DTensor):
        parameter.copy_(value)
        return
    shape, offset = compute_local_shape_and_global_offset(
        parameter.shape, parameter.device_mesh, parameter.placements
    )
    mine = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
    parameter.to_local().copy_(value[mine])
