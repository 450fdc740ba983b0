"""What a layer, its attention or its mixture returns beside the hidden states."""

from typing import NamedTuple

from torch import Tensor


class LayerOutput(NamedTuple):
    """A tuple, so that hooks of sharded modules find its tensors."""

    hidden: Tensor  # [B, T, H]
    losses: dict[str, Tensor] | None = None  # weighted, by name
    expert_counts: Tensor | None = None  # int64 [E] of a mixture: tokens that chose an expert
    dropped: Tensor | None = None  # int64 scalar of a mixture: choices that no expert had room for
    normed: Tensor | None = None  # [B, T, H] of a module for more than the next token: what the head reads
