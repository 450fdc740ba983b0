"""Causal attention of the heads that are open, token by token: the others cost nothing. For inference."""

import torch
from torch import Tensor

from deepseek_workloads.model.causal import attend_causally

_BLOCK = 128  # queries of a head at a time


def attend_open(queries: Tensor, keys: Tensor, values: Tensor, *, is_open: Tensor, scale: float) -> Tensor:
    """As `attend_causally`; bool `is_open` [B, T, A]: zeros elsewhere."""
    if bool(is_open.all()):
        return attend_causally(queries, keys, values, scale=scale)
    attended = values.new_zeros(*queries.shape[:3], values.shape[-1])
    before = keys.shape[1] - queries.shape[1]
    for row, head in is_open.any(1).nonzero().tolist():
        tokens = is_open[row, :, head].nonzero().squeeze(1)
        of_head = keys[row, :, head], values[row, :, head]
        attended[row, tokens, head] = _of_tokens(
            queries[row, tokens, head], *of_head, positions=tokens + before, scale=scale
        )
    return attended


def _of_tokens(queries: Tensor, keys: Tensor, values: Tensor, *, positions: Tensor, scale: float) -> Tensor:
    """[N, D] of rising `positions` [N], [S, D], [S, W] -> [N, W]; of the keys only those that are seen."""
    exact = torch.promote_types(queries.dtype, torch.float32)
    parts = []
    for start in range(0, len(positions), _BLOCK):
        rows = slice(start, start + _BLOCK)
        end = int(positions[rows][-1])
        scores = (queries[rows] @ keys[: end + 1].t()).to(exact) * scale
        later = torch.arange(end + 1, device=keys.device) > positions[rows].unsqueeze(1)
        weights = scores.masked_fill_(later, float("-inf")).softmax(-1).to(values.dtype)
        parts.append(weights @ values[: end + 1])
    return torch.cat(parts)
