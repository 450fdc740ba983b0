"""Which choices an expert has room for, when it has a capacity (GShard, arXiv:2006.16668, 2.2).

Counted for each sequence by itself, so that a result depends neither on the layout nor on its neighbours in a
batch; first come, first served along a sequence, so that no token sees a later one.
"""

from math import ceil

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import MoE


def expert_capacity(moe: MoE, sequence_length: int) -> int:
    """Tokens of a sequence that one expert takes."""
    factor = moe.expert_capacity_factor
    assert factor is not None
    return ceil(factor * sequence_length * moe.num_experts_per_tok / moe.n_routed_experts)


def within_capacity(
    chosen: Tensor, weights: Tensor, *, moe: MoE, sequence_length: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`chosen` int64 [N, K] and `weights` [N, K] of whole sequences one after another -> both without the
    choices that came too late (expert E, weight 0), and int64 [E], tokens that an expert takes."""
    experts, size = moe.n_routed_experts, sequence_length * moe.num_experts_per_tok
    slots = chosen.flatten()
    sequence = torch.arange(slots.numel(), device=slots.device) // size
    queue = sequence * experts + slots  # of each choice: one for each sequence and expert
    lengths = queue.new_zeros(slots.numel() // size * experts).scatter_add_(0, queue, torch.ones_like(queue))
    order = queue.argsort(stable=True)
    ranks = torch.arange(slots.numel(), device=slots.device) - (lengths.cumsum(0) - lengths)[queue[order]]
    capacity = expert_capacity(moe, sequence_length)
    late = torch.empty_like(ranks).scatter_(0, order, ranks).view_as(chosen) >= capacity
    kept = lengths.clamp(max=capacity).view(-1, experts).sum(0)
    return chosen.masked_fill(late, experts), weights.masked_fill(late, 0), kept
