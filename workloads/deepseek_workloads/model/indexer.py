"""The lightning indexer of DeepSeek-V3.2 (DeepSeek sparse attention): which tokens are worth attending to.

A few small heads score every earlier token, cheaply enough to do so for all. Other than in the attention that
it serves, rotary pairs are halves. It knows neither that attention nor how it is trained.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture, Indexer
from deepseek_workloads.model.rope import rotate_halves

_KEY_NORM_EPS = 1e-6


class IndexQueries(NamedTuple):
    """Of T tokens."""

    features: Tensor  # [B, T, heads, D]
    weights: Tensor  # [B, T, heads], at least float32

    def rows(self, start: int, stop: int) -> "IndexQueries":
        return IndexQueries(self.features[:, start:stop], self.weights[:, start:stop])


class LightningIndexer(nn.Module):
    """Names as in the published weights."""

    def __init__(self, settings: Indexer, architecture: Architecture) -> None:
        super().__init__()
        rank, self.heads, self.width = (
            architecture.q_lora_rank,
            settings.index_n_heads,
            settings.index_head_dim,
        )
        assert rank is not None  # plan.architecture_rules
        self.rope = architecture.qk_rope_head_dim
        self.wq_b = nn.Linear(rank, self.heads * self.width, bias=False)
        self.wk = nn.Linear(architecture.hidden_size, self.width, bias=False)
        self.k_norm = nn.LayerNorm(self.width, eps=_KEY_NORM_EPS)
        self.weights_proj = nn.Linear(architecture.hidden_size, self.heads, bias=False)

    def keys(self, hidden: Tensor, rotation: Tensor) -> Tensor:
        """`hidden` [B, T, H] -> [B, T, D]."""
        keys = self.k_norm(self.wk(hidden)).unsqueeze(2)
        return self._turned(keys, rotation).squeeze(2)

    def queries(self, compressed: Tensor, hidden: Tensor, rotation: Tensor) -> IndexQueries:
        """`compressed` [B, T, q_lora_rank]: what attention's own queries are projected from."""
        features = self._turned(self.wq_b(compressed).unflatten(-1, (self.heads, self.width)), rotation)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        return IndexQueries(features, self.weights_proj(hidden).to(exact) * self.heads**-0.5)

    def scores(self, queries: IndexQueries, keys: Tensor) -> Tensor:
        """`keys` [B, S, D] -> [B, T, S], in at least float32, also under autocast."""
        exact = queries.weights.dtype
        with torch.autocast(keys.device.type, enabled=False):
            products = queries.features.to(exact) @ keys.to(exact).transpose(-1, -2).unsqueeze(1)
            of_heads = (products * self.width**-0.5).relu()  # [B, T, heads, S]
            total: Tensor = (queries.weights.unsqueeze(-2) @ of_heads).squeeze(-2)
            return total

    def _turned(self, features: Tensor, rotation: Tensor) -> Tensor:
        rotary, plain = torch.split(features, [self.rope, self.width - self.rope], dim=-1)
        return torch.cat([rotate_halves(rotary, rotation), plain], dim=-1)


def most_relevant(scores: Tensor, visible: Tensor, count: int) -> Tensor:
    """Bool [..., T, S]: of the `visible` ones (bool, broadcast) the `count` with the highest `scores`."""
    if scores.shape[-1] <= count:
        return visible.expand_as(scores)
    scores = scores.masked_fill(~visible, float("-inf"))
    least = scores.topk(count, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    # Scores that no head raises are zero, and equal: the first are taken, whatever the shape or the device.
    above, equal = scores > least, scores == least
    room = count - above.sum(-1, keepdim=True)
    return (above | (equal & (equal.cumsum(-1, dtype=torch.int32) <= room))) & visible
