"""Attention within buckets of locality-sensitive hashing (Reformer, arXiv:2001.04451, 2), causal.

Angular hashing: the nearest of `numBuckets` random directions. In each of `numHashes` rounds a query sees the
newest keys of its own bucket, up to a budget, and itself; rounds are merged by log-sum-exp as in the
paper, so that a key that several rounds have found weighs more. Other than there, queries and keys have
projections of their own: keys are looked up by bucket, not by a place in one common order.
"""

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.bucketed_attention import attend_in_buckets
from deepseek_workloads.model.grouped_query import GroupedQueryAttention
from deepseek_workloads.plan.lsh_budget import lsh_budget

_SEED = 0x15B  # directions are part of the kind, not of the weights: the same in every run and layer


class LSHAttention(GroupedQueryAttention):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.settings = architecture.attention

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[B, T, A, D] of the last T of S positions, the others [B, S, A, D] -> [B, T, A, D]."""
        return attend_in_buckets(
            queries,
            keys,
            values,
            of_queries=self.buckets(queries.transpose(1, 2)),
            of_keys=self.buckets(keys.transpose(1, 2)),
            budget=lsh_budget(self.settings, keys.shape[1]) - 1,
            scale=self.scale,
        )

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
        nearest = turned.abs().argmax(-1, keepdim=True)
        opposite = turned.gather(-1, nearest) < 0
        return (nearest + opposite * (settings.num_buckets // 2)).squeeze(-1)
