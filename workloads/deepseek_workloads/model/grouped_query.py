"""Grouped-query attention (arXiv:2305.13245) with rotary positions, as in Llama: names and layout are its.

It knows one layer. Kinds that see less than everything before them derive from it.
"""

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.batch_cache import BatchCache
from deepseek_workloads.model.caches import Cache
from deepseek_workloads.model.causal import attend_causally, attend_masked
from deepseek_workloads.model.dropout import Dropout
from deepseek_workloads.model.dropped_attention import attend_with_dropout
from deepseek_workloads.model.rope import rotate_halves


class GroupedQueryAttention(nn.Module):
    """Causal self-attention in which A query heads share `num_key_value_heads` (G) keys and values."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.heads, self.shared, self.width = a.num_attention_heads, a.key_value_heads, a.head_dim
        self.scale = self.width**-0.5
        self.dropout: Dropout | None = None  # of weights; the layer's
        self.q_proj = nn.Linear(a.hidden_size, self.heads * self.width, bias=a.attention_bias)
        self.k_proj = nn.Linear(a.hidden_size, self.shared * self.width, bias=a.attention_bias)
        self.v_proj = nn.Linear(a.hidden_size, self.shared * self.width, bias=a.attention_bias)
        self.o_proj = nn.Linear(self.heads * self.width, a.hidden_size, bias=a.attention_bias)

    def forward(self, hidden: Tensor, rotation: Tensor, cache: Cache | None = None) -> Tensor:
        """`hidden` [B, T, H] -> [B, T, H]; `rotation` complex [T, D / 2], or [B, T, D / 2]."""
        queries, keys, values = self._projected(hidden, rotation, cache)
        if isinstance(cache, BatchCache):
            attended = self._attend_to_rows(queries, keys, values, cache.mask)
        else:
            attended = self.attend(queries, keys, values)
        projected: Tensor = self.o_proj(attended.flatten(-2))
        return projected

    def _projected(
        self, hidden: Tensor, rotation: Tensor, cache: Cache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> queries [B, T, A, D] of the new tokens, keys and values [B, S, A, D] of those before as well."""
        queries = rotate_halves(self.q_proj(hidden).unflatten(-1, (-1, self.width)), rotation)
        keys = rotate_halves(self.k_proj(hidden).unflatten(-1, (-1, self.width)), rotation)
        values = self.v_proj(hidden)
        if isinstance(cache, BatchCache):
            keys, values = cache.extend(keys.flatten(-2), values).chunk(2, dim=-1)
        elif cache is not None:
            flat, values = cache.extend(keys.flatten(-2), values)
            keys = flat.view(*flat.shape[:2], -1, self.width)
        return queries, *self._by_head(keys, values)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """`queries` [B, T, A, D] of the last T of S positions, the others [B, S, A, D] -> [B, T, A, D]."""
        if self.dropout is not None and self.dropout.active:
            return attend_with_dropout(queries, keys, values, dropout=self.dropout, scale=self.scale)
        return attend_causally(queries, keys, values, scale=self.scale)

    def visible(self, mask: Tensor) -> Tensor:
        """Bool [B, S], positions of a row up to its newest, which may be fewer than S -> those it sees."""
        return mask

    def _attend_to_rows(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """One new token a row: [B, 1, A, D], [B, S, A, D] twice and bool [B, S] -> [B, 1, A, D]."""
        return attend_masked(queries, keys, values, mask=self.visible(mask)[:, None, None], scale=self.scale)

    def _by_head(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, G, D] or [B, S, G * D] each -> [B, S, A, D]; heads of a group see the same."""
        group = self.heads // self.shared
        shaped = (part.reshape(*part.shape[:2], self.shared, self.width) for part in (keys, values))
        keys, values = (torch.repeat_interleave(part, group, dim=2) for part in shaped)
        return keys, values
