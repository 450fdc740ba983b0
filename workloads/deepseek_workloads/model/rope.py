"""Rotary positions with YaRN (arXiv:2309.00071); pairs are neighbours as in DeepSeek, or halves as in Llama.

It knows positions and frequencies, not heads.
"""

import math

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture, RopeScaling


def rotations(
    architecture: Architecture, *, start: int, length: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Complex [length, rotary width / 2]: what turns the pairs at positions `start`, `start + 1`, ..."""
    positions = torch.arange(start, start + length, device=device)
    return rotations_at(architecture, positions, dtype=dtype)


def rotations_at(architecture: Architecture, positions: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Complex [..., rotary width / 2] for whole-number `positions` [...].

    Complex64 for every `dtype` but float64: mixed-precision policies cast floats of a layer's inputs, and a
    bf16 angle is wrong by whole turns at long positions; they leave complex numbers alone. Angles are
    computed in float32, as in Hugging Face's model.
    """
    angles = positions.to(torch.float32).unsqueeze(-1) * _frequencies(architecture, positions.device)
    size = _cosine_scale(architecture.rope_scaling)
    real = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.complex((angles.cos() * size).to(real), (angles.sin() * size).to(real))


def rotate(features: Tensor, rotation: Tensor) -> Tensor:
    """Turns the neighbouring pairs of `features` [B, T, A, 2P] by `rotation` [T, P], or [B, T, P] where each
    row has positions of its own; the dtype is kept.

    Hugging Face's model also moves the first of all pairs before the second; queries and keys move alike, so
    that no product changes.
    """
    real = torch.promote_types(features.dtype, torch.float32)
    exact = features.to(real).contiguous()
    pairs = torch.view_as_complex(exact.view(*exact.shape[:-1], -1, 2))
    turned: Tensor = torch.view_as_real(pairs * rotation.unsqueeze(-2)).flatten(-2)
    return turned.to(features.dtype)


def rotate_halves(features: Tensor, rotation: Tensor) -> Tensor:
    """As `rotate`, for pairs of which one feature is in the first half and the other in the second."""
    real = torch.promote_types(features.dtype, torch.float32)
    halves = torch.stack(features.to(real).chunk(2, dim=-1), dim=-1)
    turned: Tensor = torch.view_as_real(torch.view_as_complex(halves) * rotation.unsqueeze(-2))
    return turned.transpose(-1, -2).flatten(-2).to(features.dtype)


def softmax_scale(architecture: Architecture) -> float:
    """1/sqrt(D), times YaRN's mscale squared: once for the queries, once for the keys."""
    scale = 1 / math.sqrt(architecture.qk_nope_head_dim + architecture.qk_rope_head_dim)
    scaling = architecture.rope_scaling
    if scaling is None or not scaling.mscale_all_dim:
        return scale
    mscale = _mscale(scaling.factor, scaling.mscale_all_dim)
    return scale * mscale * mscale


def _frequencies(architecture: Architecture, device: torch.device) -> Tensor:
    """float32 [rotary width / 2], radians a position."""
    width = architecture.rotary_width
    exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    periods = architecture.rope_theta**exponents
    scaling = architecture.rope_scaling
    if scaling is None:
        return 1.0 / periods
    low, high = _ramp_bounds(scaling, width, architecture.rope_theta)
    ramp = (torch.arange(width // 2, device=device, dtype=torch.float32) - low) / (high - low)
    kept = 1 - ramp.clamp(0, 1)  # 1: as trained (fast pairs), 0: stretched by the factor (slow pairs)
    return 1.0 / (scaling.factor * periods) * (1 - kept) + 1.0 / periods * kept


def _ramp_bounds(scaling: RopeScaling, width: int, theta: float) -> tuple[float, float]:
    """The pairs between which frequencies go over from kept to stretched."""

    def pair_of(turns: float) -> float:
        length = scaling.original_max_position_embeddings
        return width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair_of(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_of(scaling.beta_slow)), width - 1)
    return low, high if high != low else high + 0.001


def _cosine_scale(scaling: RopeScaling | None) -> float:
    if scaling is None:
        return 1.0
    if scaling.mscale and scaling.mscale_all_dim:
        return _mscale(scaling.factor, scaling.mscale) / _mscale(scaling.factor, scaling.mscale_all_dim)
    return _mscale(scaling.factor, 1.0)


def _mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0
