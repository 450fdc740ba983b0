"""Causal attention by the fused kernels, which are called here only. It knows no projections or positions."""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_workloads.model.chunked_attention import attend_in_chunks

WORTH_A_CALL: Final = 64  # tokens of a document, on the mean: below, one product under a mask is sooner done


def attend_causally(queries: Tensor, keys: Tensor, values: Tensor, *, scale: float) -> Tensor:
    """`queries` [B, T, A, D] of the last T of S positions, `keys` [B, S, A, D], `values` [B, S, A, W]
    -> [B, T, A, W].

    A GPU's fused kernels want one width for all three; without it attention would hold T*S weights a head.
    """
    new, seen, width = queries.shape[1], keys.shape[1], values.shape[-1]
    if new == seen and queries.device.type == "cpu":
        query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (queries, keys, values))
        attended = attend_in_chunks(query, key, value, scale)
        return attended.view(queries.shape[0], -1, *attended.shape[1:]).transpose(1, 2)
    padded = max(queries.shape[-1], width)
    query, key, value = (
        F.pad(part, (0, padded - part.shape[-1])).transpose(1, 2) for part in (queries, keys, values)
    )
    mask = None
    if 1 < new < seen:
        mask = torch.ones(new, seen, dtype=torch.bool, device=queries.device).tril(seen - new)
    attended = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=new == seen, scale=scale
    )
    return attended.transpose(1, 2)[..., :width]


def attend_in_spans(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    spans: Sequence[tuple[slice, int]] | None,
    scale: float,
) -> Tensor:
    """As `attend_causally`, where the queries are of several spans of positions: each names its queries, and
    how many keys the last of them sees. None: one span."""
    if spans is None:
        return attend_causally(queries, keys, values, scale=scale)
    parts = [
        attend_causally(queries[:, own], keys[:, :end], values[:, :end], scale=scale) for own, end in spans
    ]
    return torch.cat(parts, dim=1)


def attend_in_documents(
    queries: Tensor, keys: Tensor, values: Tensor, *, sizes: Sequence[int], scale: float
) -> Tensor:
    """As `attend_causally` with T = S, where rows hold documents of these `sizes`, one after another, row by
    row: each by itself."""
    lines = (torch.split(part.flatten(0, 1), list(sizes)) for part in (queries, keys, values))
    parts = zip(*lines, strict=True)
    attended = [
        attend_causally(query[None], key[None], value[None], scale=scale)[0] for query, key, value in parts
    ]
    return torch.cat(attended).view(*queries.shape[:3], values.shape[-1])


def attend_masked(queries: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor, scale: float) -> Tensor:
    """As `attend_causally`, with what a query may see in bool `mask`, broadcast to [B, A, T, S]."""
    width = values.shape[-1]
    padded = max(queries.shape[-1], width)
    query, key, value = (
        F.pad(part, (0, padded - part.shape[-1])).transpose(1, 2) for part in (queries, keys, values)
    )
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return attended.transpose(1, 2)[..., :width]
