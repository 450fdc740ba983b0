"""Causal attention by the fused kernels, which are called here only. It knows no projections or positions."""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from deepseek_workloads.model.chunked_attention import attend_in_chunks

_MULTIPLE: Final = 8  # of a head's width, for the kernel of packed sequences
_LONGEST_STEP: Final = 128  # queries of a block of that kernel


def attend_causally(queries: Tensor, keys: Tensor, values: Tensor, *, scale: float) -> Tensor:
    """`queries` [B, T, A, D] of the last T of S positions, `keys` [B, S, A, D], `values` [B, S, A, W]
    -> [B, T, A, W].

    A GPU's fused kernels want one width for all three; without it attention would hold T*S weights a head.
    """
    new, seen, width = queries.shape[1], keys.shape[1], values.shape[-1]
    if new == seen and queries.device.type == "cpu":
        return attend_in_window(queries, keys, values, window=None, scale=scale)
    padded = max(queries.shape[-1], width)
    query, key, value = (
        F.pad(part, (0, padded - part.shape[-1])).transpose(1, 2) for part in (queries, keys, values)
    )
    mask, whole = None, False
    if new == seen:  # a branch, as no kernel takes what a compiler has in place of sizes for an answer
        whole = True
    elif new > 1:
        mask = torch.ones(new, seen, dtype=torch.bool, device=queries.device).tril(seen - new)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=whole, scale=scale)
    return attended.transpose(1, 2)[..., :width]


def attend_in_window(
    queries: Tensor, keys: Tensor, values: Tensor, *, window: int | None, scale: float
) -> Tensor:
    """As `attend_causally` with T = S, of the newest `window` tokens only, or all; on a CPU."""
    query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (queries, keys, values))
    attended = attend_in_chunks(query, key, value, scale, window=window)
    return attended.view(queries.shape[0], -1, *attended.shape[1:]).transpose(1, 2)


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


def attend_packed(
    queries: Tensor, keys: Tensor, values: Tensor, *, borders: Tensor, longest: int, scale: float
) -> Tensor:
    """As `attend_in_documents` in one kernel, which skips what is between documents; on a GPU, in bfloat16 or
    float16. `borders` int32 [documents + 1], where they begin in the rows laid end to end, and the end;
    `longest`: the most tokens of one. One width for all three is what the kernel takes."""
    width, dtype = values.shape[-1], computed_in(queries)
    padded = -(-max(queries.shape[-1], width) // _MULTIPLE) * _MULTIPLE
    query, key, value = (
        F.pad(part.flatten(0, 1).to(dtype), (0, padded - part.shape[-1])) for part in (queries, keys, values)
    )
    # An upper bound will do, and one of a few values is not compiled for anew each time.
    bound = max(_LONGEST_STEP, 1 << (longest - 1).bit_length())
    attended = varlen_attn(
        query, key, value, borders, borders, bound, bound, scale=scale, window_size=(-1, 0)
    )
    assert isinstance(attended, Tensor)
    return attended[..., :width].view(*queries.shape[:3], width)


def computed_in(features: Tensor) -> torch.dtype:
    """What autocast makes of `features`. Kernels that it does not know get them so."""
    device = features.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return features.dtype


def attend_masked(queries: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor, scale: float) -> Tensor:
    """As `attend_causally`, with what a query may see in bool `mask`, broadcast to [B, A, T, S]."""
    width = values.shape[-1]
    padded = max(queries.shape[-1], width)
    query, key, value = (
        F.pad(part, (0, padded - part.shape[-1])).transpose(1, 2) for part in (queries, keys, values)
    )
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return attended.transpose(1, 2)[..., :width]
