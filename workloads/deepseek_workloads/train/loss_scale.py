"""The factor that keeps float16 gradients above the smallest number of their type (arXiv:1710.03740, 3.2).

It is the same on every rank, as all see the same gradient norm, and is part of a checkpoint.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from deepseek_workloads.contract.run_config import Training

FIRST_SCALE: Final = 2.0**16
SMALLEST_SCALE: Final = 1.0  # gradients that overflow without help are no matter of scaling
LARGEST_SCALE: Final = 2.0**24
GROWTH_STEPS: Final = 2000  # without overflow, until it is tried twice as large
_NAME: Final = "loss_scale"


class LossScale:
    """Halves when gradients overflow, and that step is not taken; doubles after GROWTH_STEPS good ones."""

    needed: Final = True

    def __init__(self) -> None:
        self.value = FIRST_SCALE
        self._good_steps = 0

    @property
    def exhausted(self) -> bool:
        return self.value < SMALLEST_SCALE

    def update(self, *, overflow: bool) -> None:
        if overflow:
            self.value, self._good_steps = self.value / 2, 0
            return
        self._good_steps += 1
        if self._good_steps == GROWTH_STEPS:
            self.value, self._good_steps = min(2 * self.value, LARGEST_SCALE), 0

    def state(self) -> dict[str, Tensor]:
        return {_NAME: torch.tensor([self.value, self._good_steps], dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        value, good_steps = state[_NAME].tolist()
        self.value, self._good_steps = value, int(good_steps)


def loss_scale_for(training: Training) -> LossScale | None:
    """None where nothing is computed in float16."""
    precisions = {training.precision, *(override.precision for override in training.precision_overrides)}
    return LossScale() if "fp16" in precisions else None
