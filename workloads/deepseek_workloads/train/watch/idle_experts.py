"""Which experts get next to no tokens: counted over a window of steps, since a step alone may be too short.

It keeps what routers chose, the same on every rank; it does not know what is done about it.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

WINDOW_STEPS: Final = 32
MIN_MEAN_TOKENS: Final = 100  # of the window, an expert: with fewer, chance alone leaves some without
IDLE_OF_MEAN: Final = 0.01
_NAME: Final = "expert_tokens"
_NO_STEP: Final = -1


class IdleExperts:
    """A `StatePart` of a checkpoint, so that a run that goes on judges as one that was not interrupted."""

    needed: Final = False

    def __init__(self, mixture_layers: int, experts: int, device: torch.device) -> None:
        shape = (WINDOW_STEPS, mixture_layers, experts)
        self._window = torch.full(shape, _NO_STEP, dtype=torch.int32, device=device)  # the oldest step first
        self._steps = 0  # of which are there

    def after_step(self, counts: Tensor) -> Tensor:
        """`counts` int64 [mixture layers, E]: the choices of one global batch. -> float64 [2], on the
        device of `counts`: over the layers the largest share of experts that got less than IDLE_OF_MEAN of
        their layer's mean in the last WINDOW_STEPS, and the row of that layer. The share is below 0 where
        these are not there yet, or have fewer than MIN_MEAN_TOKENS an expert."""
        self._window = torch.cat([self._window[1:], counts.to(self._window).unsqueeze(0)])
        self._steps = min(self._steps + 1, WINDOW_STEPS)
        unknown = counts.new_full((2,), -1.0, dtype=torch.float64)
        if self._steps < WINDOW_STEPS:
            return unknown
        tokens = self._window.sum(0, dtype=torch.float64)
        mean = tokens.mean(1, keepdim=True)
        idle = (tokens < IDLE_OF_MEAN * mean).double().mean(1)
        largest = torch.where(mean.squeeze(1) >= MIN_MEAN_TOKENS, idle, unknown[0]).max(dim=0)
        return torch.stack([largest.values, largest.indices.double()])

    def state(self) -> dict[str, Tensor]:
        """int32 [WINDOW_STEPS, mixture layers, E] on the CPU, whatever there is of it."""
        return {_NAME: self._window.cpu().clone()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._window = state[_NAME].to(self._window)
        self._steps = int((state[_NAME][:, 0, 0] != _NO_STEP).sum())
