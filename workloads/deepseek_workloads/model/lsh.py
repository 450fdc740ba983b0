"""Attention within buckets of locality-sensitive hashing (Reformer, arXiv:2001.04451, 2), causal.

Angular hashing: the nearest of `numBuckets` random directions. In each of `numHashes` rounds a query sees the
newest keys of its own bucket, up to a budget, and itself; rounds are merged by log-sum-exp as in the
paper, so that a key that several rounds have found weighs more. Other than there, queries and keys have
projections of their own: keys are looked up by bucket, not by a place in one common order.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.grouped_query import GroupedQueryAttention
from deepseek_workloads.plan.lsh_budget import lsh_budget

_SEED = 0x15B  # directions are part of the kind, not of the weights: the same in every run and layer


class LSHAttention(GroupedQueryAttention):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.settings = architecture.attention

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[B, T, A, D] of the last T of S positions, the others [B, S, A, D] -> [B, T, A, D]."""
        query, key, value = (part.transpose(1, 2) for part in (queries, keys, values))
        of_queries, of_keys = self.buckets(query), self.buckets(key)
        rounds = [
            self._round(query, key, value, of_queries[number], of_keys[number])
            for number in range(self.settings.num_hashes)
        ]
        outputs, normalisers = (torch.stack(parts) for parts in zip(*rounds, strict=True))
        weights = normalisers.softmax(0).unsqueeze(-1)
        return (outputs * weights).sum(0).to(queries.dtype).transpose(1, 2)

    @torch.no_grad()
    def buckets(self, features: Tensor) -> Tensor:
        """[B, A, T, D] -> int64 [rounds, B, A, T]."""
        settings = self.settings
        if settings.num_buckets == 1:
            return features.new_zeros(settings.num_hashes, *features.shape[:-1], dtype=torch.int64)
        generator = torch.Generator().manual_seed(_SEED)
        half = (settings.num_hashes, 1, 1, self.width, settings.num_buckets // 2)
        directions = torch.randn(half, generator=generator).to(features.device)
        turned = features.float() @ directions
        return torch.cat([turned, -turned], dim=-1).argmax(-1)

    def _round(
        self, query: Tensor, key: Tensor, value: Tensor, of_query: Tensor, of_key: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs [B, A, T, D] and the logarithm of their normaliser [B, A, T].

        Recomputed in the backward pass: the keys that each query sees would fill the memory otherwise.
        """
        seen, found = self._candidates(of_query, of_key)
        outputs: tuple[Tensor, Tensor] = checkpoint(
            self._among, query, key, value, seen, found, use_reentrant=False
        )
        return outputs

    @torch.no_grad()
    def _candidates(self, of_query: Tensor, of_key: Tensor) -> tuple[Tensor, Tensor]:
        """Buckets [B, A, T] of the last T positions and [B, A, S] -> positions [B, A, T, W] that a query may
        see, the own one first, and which of them it does see."""
        new, length = of_query.shape[-1], of_key.shape[-1]
        places = torch.arange(length, device=of_key.device)
        own = places[length - new :]
        ordered, order = (of_key * length + places).sort(-1)
        last = torch.searchsorted(ordered, (of_query * length + own).contiguous(), right=True) - 1
        window = lsh_budget(self.settings, length) - 1
        ranks = last.unsqueeze(-1) - torch.arange(window, device=of_key.device)
        exists, ranks = ranks >= 0, ranks.clamp(min=0)
        positions = order.gather(-1, ranks.flatten(-2)).view_as(ranks)
        same = ordered.gather(-1, ranks.flatten(-2)).view_as(ranks) // length == of_query.unsqueeze(-1)
        itself = own.view(-1, 1).expand(*of_query.shape, 1)
        found = exists & same & (positions != itself)
        return torch.cat([itself, positions], dim=-1), torch.cat([torch.ones_like(found[..., :1]), found], -1)

    def _among(
        self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor, found: Tensor
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(query.dtype, torch.float32)
        products = (query.unsqueeze(-2) @ _at(key, seen).transpose(-1, -2)).squeeze(-2)
        scores = products.to(exact) * self.scale
        scores = scores.masked_fill(~found, float("-inf"))
        normaliser = scores.logsumexp(-1)
        weights = (scores - normaliser.unsqueeze(-1)).exp().unsqueeze(-2)
        return (weights.to(value.dtype) @ _at(value, seen)).squeeze(-2).to(exact), normaliser


def _at(features: Tensor, positions: Tensor) -> Tensor:
    """[B, A, S, D] at [B, A, T, W] -> [B, A, T, W, D]."""
    flat = positions.flatten(-2).unsqueeze(-1).expand(-1, -1, -1, features.shape[-1])
    return features.gather(2, flat).view(*positions.shape, features.shape[-1])
