"""Root-mean-square norm that is computed in at least float32, also under autocast.

On a CPU, where torch has no fused one, it keeps its input and one number a row for the backward pass, and
goes over memory half as often as the same thing written in torch's operations.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """`weight` [features]. Autocast hands over bfloat16 beside float32 weights, for which there is no fused
    norm: the input goes up rather than the weights down, and the output down once for all that read it."""

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        exact, eps = x.to(self.weight.dtype), self.eps
        if device == "cpu":
            if eps is None:
                eps = torch.finfo(exact.dtype).eps
            normed: Tensor = _RMSNorm.apply(exact, self.weight, eps)  # type: ignore[no-untyped-call]
        else:
            normed = F.rms_norm(exact, self.normalized_shape, self.weight, eps)
        return normed.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else normed


class _RMSNorm(torch.autograd.Function):
    """y = x r w with r = 1 / sqrt(mean(x^2) + eps); low precision goes up inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rows = x.to(torch.promote_types(x.dtype, torch.float32))
        squares: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).square_()
        scale = squares.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed = torch.mul(rows, scale)
        return normed.mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """With u = x g (element by element): dw = sum over rows of u r, dx = r g w - x r^3 mean(u w)."""
        x, weight, scale = ctx.saved_tensors
        rows = x.to(scale.dtype)
        gradient = gradients[0].to(scale.dtype)
        exact_weight = weight.to(scale.dtype)
        product = (rows * gradient).flatten(0, -2)
        of_weight = product.t().mv(scale.flatten())
        of_scale = product.mv(exact_weight).view_as(scale).mul_(scale.pow(3)).div_(-x.shape[-1])
        of_x = torch.mul(gradient, exact_weight, out=product.view_as(gradient)).mul_(scale)
        return of_x.addcmul_(rows, of_scale).to(x.dtype), of_weight.to(weight.dtype), None
