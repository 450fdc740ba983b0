"""Which experts a token goes to, and how the load is kept even (DeepSeek-V3, arXiv:2412.19437, 2.1.2).

Sigmoid scores; a bias takes part in the choice only and follows the load, not the gradient; groups limit the
choice. Softmax scores have no bias. Padding goes to experts as all tokens do, but neither the load nor a loss
is of it. It knows nothing of the experts themselves; what they have no room for, `capacity` decides.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import MoE
from deepseek_workloads.model.capacity import within_capacity
from deepseek_workloads.model.documents import DocumentMask
from deepseek_workloads.model.losses import BALANCE_LOSS, LOAD_BALANCE_LOSS

_GROUP_SCORE_EXPERTS = 2  # a group's score is the sum of its best two
_EPS = 1e-20


class Routing(NamedTuple):
    """The choice for N tokens of B sequences."""

    chosen: Tensor  # int64 [N, K]; E where the expert had no room left
    weights: Tensor  # [N, K], at least float32; 0 there
    counts: Tensor  # int64 [E], tokens that chose an expert, without padding
    kept: Tensor  # int64 [E], those that it takes, with it
    dropped: Tensor  # int64 scalar, choices that it does not take, without padding
    losses: dict[str, Tensor]  # weighted scalars by name; none where nothing is trained


class Router(nn.Module):
    """`weight` [E, H]. Buffers [E] that `update` moves: `e_score_correction_bias` of sigmoid scores, and with
    a load-balance loss `expert_frequency`, the share of the last global batch's choices."""

    e_score_correction_bias: Tensor
    expert_frequency: Tensor

    def __init__(self, moe: MoE, *, hidden: int) -> None:
        super().__init__()
        self.moe = moe
        self.documents = DocumentMask()  # the model's, once it is part of one
        self.biased = moe.scoring_func == "sigmoid"
        self.weight = nn.Parameter(torch.empty(moe.n_routed_experts, hidden))
        nn.init.normal_(self.weight, std=hidden**-0.5)
        if self.biased:
            self.register_buffer("e_score_correction_bias", torch.zeros(moe.n_routed_experts))
        if self.moe.load_balance_loss_weight:
            self.register_buffer("expert_frequency", torch.zeros(self.moe.n_routed_experts))

    def forward(self, hidden: Tensor) -> Routing:
        """`hidden` [B, T, H]; scores are computed in at least float32, also under autocast."""
        moe, tokens = self.moe, hidden.flatten(0, 1)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            logits = F.linear(tokens.to(exact), self.weight.to(exact))
        scores = logits.sigmoid() if self.biased else logits.softmax(-1)
        chosen = self._choose(scores.detach())
        weights = scores.gather(1, chosen)
        if moe.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + _EPS)
        weights = weights * moe.routed_scaling_factor
        real = self.documents.real(hidden.shape[1])
        kept = _count(chosen, moe.n_routed_experts)
        counts = kept if real is None else _count(chosen, moe.n_routed_experts, real=real)
        dropped = counts.new_zeros(())
        if self.training and moe.expert_capacity_factor is not None:
            chosen, weights, kept = within_capacity(chosen, weights, moe=moe, sequence_length=hidden.shape[1])
            late = chosen == moe.n_routed_experts
            dropped = (late if real is None else late & real.reshape(-1, 1)).sum()
        losses = self._losses(scores.view(*hidden.shape[:2], -1), real)
        return Routing(chosen, weights, counts, kept, dropped, losses)

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """After a step: the bias one step towards an even load, up where an expert was chosen less than the
        mean, down where more.

        `counts` [E]: tokens that chose an expert over the whole global batch, the same on every rank.
        """
        counts = counts.to(self.weight.dtype)
        if self.biased:
            self.e_score_correction_bias += self.moe.bias_update_speed * torch.sign(counts.mean() - counts)
        if self.moe.load_balance_loss_weight:
            self.expert_frequency.copy_(counts / counts.sum().clamp(min=1))

    def _choose(self, scores: Tensor) -> Tensor:
        """[N, E] -> int64 [N, K]: the best of the best groups, by biased score."""
        moe = self.moe
        biased = scores + self.e_score_correction_bias if self.biased else scores
        if moe.topk_group < moe.n_group:
            groups = biased.view(biased.shape[0], moe.n_group, -1)
            group_scores = groups.topk(_GROUP_SCORE_EXPERTS, dim=-1, sorted=False).values.sum(-1)
            best = group_scores.topk(moe.topk_group, dim=-1, sorted=False).indices
            barred = torch.ones_like(group_scores, dtype=torch.bool).scatter_(1, best, False)
            biased = groups.masked_fill(barred.unsqueeze(-1), float("-inf")).flatten(-2)
        return biased.topk(moe.num_experts_per_tok, dim=-1, sorted=False).indices

    def _losses(self, scores: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        """`scores` [B, T, E], bool `real` [B, T] -> those that have a weight; none outside training."""
        moe = self.moe
        if not (self.training and torch.is_grad_enabled()):
            return {}
        losses = {}
        probability = scores / scores.sum(-1, keepdim=True)
        if moe.sequence_balance_loss_weight:
            of_sequences = self._of_sequences(scores, probability, real)
            losses[BALANCE_LOSS] = moe.sequence_balance_loss_weight * of_sequences
        if moe.load_balance_loss_weight:
            # Shares of the global batch before: those of this one are known only when its last pass on the
            # last rank is over. The gradient is then the same whatever the layout and the accumulation.
            whole = None if real is None else real.reshape(1, -1)
            mean = _mean(probability.flatten(0, 1).unsqueeze(0), whole).squeeze(0)
            even = moe.n_routed_experts * (self.expert_frequency.to(mean) * mean).sum()
            losses[LOAD_BALANCE_LOSS] = moe.load_balance_loss_weight * even
        return losses

    def _of_sequences(self, scores: Tensor, probability: Tensor, real: Tensor | None) -> Tensor:
        """Equations 17 to 20: [B, T, E] twice -> the mean over sequences."""
        choices = self.moe.num_experts_per_tok
        best = scores.detach().topk(choices, dim=-1, sorted=False).indices
        counts, length = self._sequence_counts(best, real, like=scores)
        frequency = counts * (self.moe.n_routed_experts / (choices * length))
        return (frequency * _mean(probability, real)).sum(-1).mean()

    def _sequence_counts(
        self, chosen: Tensor, real: Tensor | None, like: Tensor
    ) -> tuple[Tensor, int | Tensor]:
        """int64 [B, T, K] -> choices of each expert [B, E], as floats of `like`; the sequences' length, of
        which padding is no part: then [B, 1]."""
        counted = torch.ones_like(chosen, dtype=like.dtype)
        if real is not None:
            counted = counted * real.unsqueeze(-1)
        counts = torch.zeros_like(like[:, 0]).scatter_add_(1, chosen.flatten(1), counted.flatten(1))
        return counts, chosen.shape[1] if real is None else _lengths(real)


def _lengths(real: Tensor) -> Tensor:
    """bool [B, T] -> int64 [B, 1], one at least."""
    return real.sum(1, keepdim=True).clamp(min=1)


def _mean(values: Tensor, real: Tensor | None) -> Tensor:
    """[B, T, E] -> [B, E], over the tokens that are `real`, bool [B, T]; None: all."""
    if real is None:
        return values.mean(1)
    return (values * real.unsqueeze(-1)).sum(1) / _lengths(real)


def _count(chosen: Tensor, experts: int, *, real: Tensor | None = None) -> Tensor:
    """int64 [N, K] -> [E]; without asking the device for the largest index, as bincount would."""
    counted = torch.ones_like(chosen)
    if real is not None:
        counted = counted * real.reshape(-1, 1)
    return torch.zeros(experts, dtype=torch.int64, device=chosen.device).scatter_add_(
        0, chosen.flatten(), counted.flatten()
    )
