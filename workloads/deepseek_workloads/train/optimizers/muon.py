"""Muon (Jordan et al. 2024): the momentum of each matrix, made orthogonal, is its update; AdamW for the rest.

Experts are batches of matrices, [E, out, in], each made orthogonal by itself, as are gate and up that lie one
below the other in a tensor. Works on plain tensors and on DTensors of any placement.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

# Newton-Schulz of fifth order, with the coefficients that Jordan tuned: singular values end within 0.7..1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPS = 1e-7
# The root mean square of AdamW's updates (Liu et al. 2025, arXiv:2502.16982, 2.2): with it one learning rate
# and one weight decay serve both parts.
_ADAMW_RMS = 0.2


class Muon(torch.optim.AdamW):
    """Nesterov momentum; updates of an [out, in] matrix are scaled by 0.2 * sqrt(max(out, in))."""

    MOMENTUM = 0.95

    def __init__(
        self,
        *,
        orthogonal: list[dict[str, Any]],
        others: list[dict[str, Any]],
        momentum: float,
        pairs: Collection[int] = (),
        **adamw: Any,
    ) -> None:
        """`pairs`: ids of parameters [..., 2 * out, in] of two matrices each. No setting of a group, which
        checkpoints would ask for."""
        groups = [
            *({**group, "orthogonal": True, "momentum": momentum} for group in orthogonal),
            *({**group, "orthogonal": False} for group in others),
        ]
        super().__init__(groups, **adamw)
        self._pairs = frozenset(pairs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Loading ends here. AdamW's own renews what old versions of torch have pickled, and asks each state
        for a step, which that of an orthogonal matrix has none of."""
        torch.optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Muon takes no closure: call backward before step")
        every = self.param_groups
        for group in every:
            if group["orthogonal"]:
                self._step_orthogonal(group)
        self.param_groups = [group for group in every if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = every

    def _step_orthogonal(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            buffer = state["momentum_buffer"]
            buffer.lerp_(gradient, 1 - group["momentum"])
            matrices = 2 if id(parameter) in self._pairs else 1
            update = _orthogonal(torch.lerp(gradient, buffer, group["momentum"]), matrices)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            *_, rows, columns = parameter.shape
            scale = _ADAMW_RMS * max(rows // matrices, columns) ** 0.5
            parameter.add_(update.to(parameter.dtype), alpha=-group["lr"] * scale)


def orthogonalise(matrices: Tensor) -> Tensor:
    """[..., M, N] -> the same shape: each matrix with its singular values moved near 1, its singular vectors
    kept. In bfloat16 on GPUs, else in float32."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x.mT if tall else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_EPS).to(x.dtype)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    result: Tensor = x.mT if tall else x
    return result


def _each(update: Tensor, matrices: int) -> Tensor:
    """[..., matrices * M, N]: as many of them one below the other, each by itself."""
    *batch, rows, columns = update.shape
    return orthogonalise(update.reshape(*batch, matrices, rows // matrices, columns)).reshape(update.shape)


def _orthogonal(update: Tensor, matrices: int) -> Tensor:
    """Batches that are sharded by whole matrices are worked on where they are; others are gathered first."""
    if not isinstance(update, DTensor):
        return _each(update, matrices)
    whole_matrices = update.ndim > 2 and all(
        (isinstance(place, Shard) and place.dim == 0) or place.is_replicate() for place in update.placements
    )
    if whole_matrices:
        local = _each(update.to_local(), matrices)
        return DTensor.from_local(
            local,
            update.device_mesh,
            update.placements,
            run_check=False,
            shape=update.shape,
            stride=update.stride(),
        )
    full = _each(update.full_tensor(), matrices)
    placed: Tensor = distribute_tensor(full, update.device_mesh, update.placements, src_data_rank=None)
    return placed
