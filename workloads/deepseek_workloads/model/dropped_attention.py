"""Causal attention whose weights are dropped by place: written out in blocks, since no fused kernel takes a
mask that is a function of the sample.

Weights of one block are all that is held: the backward pass makes them again.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from deepseek_workloads.model.dropout import Dropout

_BLOCK = 128  # queries


def attend_with_dropout(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    dropout: Dropout,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """[B, T, A, D], [B, T, A, D], [B, T, A, W] of whole sequences -> [B, T, A, W]; bool `mask` [B, 1, T, T]:
    what a query may see, of what stands before it."""
    query, key, value = (part.transpose(1, 2) for part in (queries, keys, values))
    parts = []
    for start in range(0, queries.shape[1], _BLOCK):
        end = min(start + _BLOCK, queries.shape[1])
        block = query[:, :, start:end], key[:, :, :end], value[:, :, :end]
        seen = _seen(block[0], start, end) if mask is None else mask[:, :, start:end, :end]
        parts.append(checkpoint(_attend, *block, seen, dropout, scale, start, use_reentrant=False))
    return torch.cat(parts, dim=2).transpose(1, 2)


def _seen(queries: Tensor, start: int, end: int) -> Tensor:
    """bool [t, s]: what queries from position `start` see of the keys before `end`."""
    rows = torch.arange(start, end, device=queries.device).unsqueeze(1)
    return torch.arange(end, device=queries.device) <= rows


def _attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    dropout: Dropout,
    scale: float,
    start: int,
) -> Tensor:
    """[B, A, t, D], [B, A, s, D], [B, A, s, W], the queries from position `start` -> [B, A, t, W]."""
    exact = torch.promote_types(queries.dtype, torch.float32)
    rows = torch.arange(start, start + queries.shape[2], device=queries.device)
    scores = (queries @ keys.transpose(-1, -2)).to(exact) * scale
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    factors = dropout.factors(rows, keys.shape[2], heads=queries.shape[1])
    return (weights * factors).to(values.dtype) @ values
