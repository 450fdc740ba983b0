"""The gate of a SwiGLU network (Shazeer 2020, arXiv:2002.05202): silu(gate) * up.

It keeps `gate` and `up` for the backward pass and makes silu(gate) again: memory costs more than it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Both [..., I]."""
    gated: Tensor = _SwiGLU.apply(gate, up)  # type: ignore[no-untyped-call]
    return gated


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_up = F.silu(gate).mul_(gradients[0])
        return torch.ops.aten.silu_backward(gradients[0] * up, gate), of_up
