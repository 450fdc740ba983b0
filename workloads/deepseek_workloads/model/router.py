"""Which experts a token goes to, and how the load is kept even (DeepSeek-V3, arXiv:2412.19437, 2.1.2).

Sigmoid scores; a bias takes part in the choice only and follows the load, not the gradient; groups limit the
choice. It knows nothing of the experts themselves.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture

_GROUP_SCORE_EXPERTS = 2  # a group's score is the sum of its best two
_EPS = 1e-20


class Routing(NamedTuple):
    """The choice for N tokens of B sequences."""

    chosen: Tensor  # int64 [N, K]
    weights: Tensor  # [N, K], at least float32
    counts: Tensor  # int64 [E], tokens an expert
    balance_loss: Tensor  # scalar; zero where it is not trained


class Router(nn.Module):
    """`weight` [E, H]; `e_score_correction_bias` [E] is a buffer that `update_bias` moves."""

    e_score_correction_bias: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.moe = architecture.moe
        self.weight = nn.Parameter(torch.empty(self.moe.n_routed_experts, architecture.hidden_size))
        nn.init.normal_(self.weight, std=architecture.initializer_range)
        self.register_buffer("e_score_correction_bias", torch.zeros(self.moe.n_routed_experts))

    def forward(self, hidden: Tensor) -> Routing:
        """`hidden` [B, T, H]; scores are computed in at least float32, also under autocast."""
        moe, tokens = self.moe, hidden.flatten(0, 1)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            scores = F.linear(tokens.to(exact), self.weight.to(exact)).sigmoid()
        chosen = self._choose(scores.detach())
        weights = scores.gather(1, chosen)
        if moe.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + _EPS)
        return Routing(
            chosen=chosen,
            weights=weights * moe.routed_scaling_factor,
            counts=_count(chosen.flatten(), moe.n_routed_experts),
            balance_loss=self._balance_loss(scores.view(*hidden.shape[:2], -1)),
        )

    @torch.no_grad()
    def update_bias(self, counts: Tensor) -> None:
        """One step towards an even load: up where an expert got fewer tokens than the mean, down where more.

        `counts` [E]: tokens an expert over the whole global batch, the same on every rank.
        """
        counts = counts.to(self.e_score_correction_bias)
        self.e_score_correction_bias += self.moe.bias_update_speed * torch.sign(counts.mean() - counts)

    def _choose(self, scores: Tensor) -> Tensor:
        """[N, E] -> int64 [N, K]: the best of the best groups, by biased score."""
        moe = self.moe
        biased = scores + self.e_score_correction_bias
        if moe.topk_group < moe.n_group:
            groups = biased.view(biased.shape[0], moe.n_group, -1)
            group_scores = groups.topk(_GROUP_SCORE_EXPERTS, dim=-1, sorted=False).values.sum(-1)
            best = group_scores.topk(moe.topk_group, dim=-1, sorted=False).indices
            barred = torch.ones_like(group_scores, dtype=torch.bool).scatter_(1, best, False)
            biased = groups.masked_fill(barred.unsqueeze(-1), float("-inf")).flatten(-2)
        return biased.topk(moe.num_experts_per_tok, dim=-1, sorted=False).indices

    def _balance_loss(self, scores: Tensor) -> Tensor:
        """Sequence-wise, equations 17 to 20: `scores` [B, T, E] -> the mean over sequences, weighted."""
        moe = self.moe
        if not (self.training and moe.sequence_balance_loss_weight and torch.is_grad_enabled()):
            return scores.new_zeros(())
        experts, length = moe.n_routed_experts, scores.shape[1]
        best = scores.detach().topk(moe.num_experts_per_tok, dim=-1, sorted=False).indices.flatten(1)
        chosen = torch.zeros_like(scores[:, 0]).scatter_add_(
            1, best, torch.ones_like(best, dtype=scores.dtype)
        )
        frequency = chosen * (experts / (moe.num_experts_per_tok * length))
        probability = (scores / scores.sum(-1, keepdim=True)).mean(1)
        return moe.sequence_balance_loss_weight * (frequency * probability).sum(-1).mean()


def _count(chosen: Tensor, experts: int) -> Tensor:
    """Without asking the device for the largest index, as bincount would."""
    return torch.zeros(experts, dtype=torch.int64, device=chosen.device).scatter_add_(
        0, chosen, torch.ones_like(chosen)
    )
