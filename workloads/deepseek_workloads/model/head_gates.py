"""A learned gate for each attention head, which closes the head for tokens that do not need it.

The gate of a token is open where a linear function of its hidden state is above zero. What goes forward is
zero or one, what goes back is the gradient of the sigmoid (straight-through: Bengio et al. 2013,
arXiv:1308.3432; gates of heads, there whatever the input: Voita et al. 2019, arXiv:1905.09418). A penalty
on the sigmoids drives them closed. Where no gradient is wanted, closed heads are not computed (`open_heads`).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.losses import HEAD_GATE_LOSS

_OPEN_AT_FIRST = (
    2.0  # added to the function: with zero bias a new gate is open, and its gradient not yet flat
)


class Gates(NamedTuple):
    values: Tensor  # [B, T, A], zero or one, with a gradient
    losses: dict[str, Tensor]  # weighted; none outside training

    @property
    def open(self) -> Tensor:
        """bool [B, T, A]."""
        return self.values.detach() > 0

    @property
    def open_heads(self) -> Tensor:
        """int64 [heads that any token opens]."""
        return self.open.any(0).any(0).nonzero().squeeze(1)

    @property
    def skipping(self) -> bool:
        """Whether closed heads are left out instead of multiplied by zero."""
        return not torch.is_grad_enabled()


class HeadGates(nn.Linear):
    """`weight` [A, H], `bias` [A]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture.hidden_size, architecture.num_attention_heads)
        settings = architecture.attention.head_gate
        assert settings is not None
        self.penalty = settings.penalty_weight

    def forward(self, hidden: Tensor) -> Gates:  # type: ignore[override]
        """`hidden` [B, T, H], by its token alone: nothing that comes later can close a head."""
        exact = torch.promote_types(hidden.dtype, torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            logits = F.linear(hidden.to(exact), self.weight.to(exact), self.bias.to(exact)) + _OPEN_AT_FIRST
        openness = logits.sigmoid()
        values = (logits > 0).to(exact) + (openness - openness.detach())
        losses = {HEAD_GATE_LOSS: self.penalty * openness.mean()} if self.training else {}
        return Gates(values.to(hidden.dtype), losses)
