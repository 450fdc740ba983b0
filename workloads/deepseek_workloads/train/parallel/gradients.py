"""The norm of gradients that lie in shards and slices on many ranks, and their clipping.

It works on what each rank holds itself, so that tensors of different meshes go together.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from deepseek_workloads.train.group import Group

_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_


def gradient_norm(gradients: Sequence[Tensor], group: Group, *, stage_ranks: int) -> Tensor:
    """float64 scalar on the group's device, the same on every rank. A collective.

    A tensor is on all `stage_ranks` ranks of its pipeline stage, in as many different parts as its mesh has
    shards; each part counts once.
    """
    total = torch.zeros((), dtype=torch.float64, device=group.device)
    if gradients:
        norms = torch.stack([norm.double() for norm in torch._foreach_norm([*map(own_part, gradients)])])
        weights = torch.tensor(
            [parts_of(gradient) / stage_ranks for gradient in gradients], dtype=torch.float64
        )
        total += (norms.square() * weights.to(norms.device)).sum().to(total.device)
    return group.sum(total).sqrt_()


def clip_gradients(gradients: Sequence[Tensor], *, clip_norm: float, norm: Tensor) -> None:
    """In place, all by the same factor, where `norm` exceeds `clip_norm`."""
    if not gradients:
        return
    own = [own_part(gradient) for gradient in gradients]
    factor = (clip_norm / (norm + _EPS)).clamp(max=1.0)
    torch._foreach_mul_(own, factor.to(own[0].device, own[0].dtype))


def own_part(tensor: Tensor) -> Tensor:
    """What this rank holds of it; the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def parts_of(tensor: Tensor) -> int:
    """How many ranks share it: 1 where each has all of it."""
    if not isinstance(tensor, DTensor):
        return 1
    sizes = zip(tensor.device_mesh.shape, tensor.placements, strict=True)
    return prod(size for size, placement in sizes if not isinstance(placement, Replicate))
