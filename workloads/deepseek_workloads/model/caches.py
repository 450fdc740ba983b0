"""What one layer keeps of the earlier tokens of a sequence: two features a token, side by side.

For latent attention they are the latents and their rotary part, otherwise keys and values. Sequences that are
decoded together have a `batch_cache`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_workloads.model.batch_cache import BatchCache


@dataclass
class LayerCache:
    """Grows with each pass that is given it."""

    first: Tensor | None = None  # [B, S, *]
    second: Tensor | None = None  # [B, S, *]

    def extend(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Appends the new tokens and returns all of them."""
        if self.first is not None and self.second is not None:
            first = torch.cat([self.first, first], dim=1)
            second = torch.cat([self.second, second], dim=1)
        self.first, self.second = first, second
        return first, second


class SharedSequence(ABC):
    """Stands in a cache's place where other ranks hold tokens of the same sequences."""

    @abstractmethod
    def extend(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of this rank -> those of all."""

    @abstractmethod
    def spans(self, new: int, seen: int) -> Sequence[tuple[slice, int]]:
        """Which of the `new` own tokens see how many of all: in a causal triangle whose last row sees all of
        these."""


Cache = LayerCache | BatchCache | SharedSequence
