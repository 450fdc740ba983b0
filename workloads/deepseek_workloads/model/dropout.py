"""Dropout whose masks are a pure function of seed, step, sample, layer and place (`counter_random`): the same
on every rank and layout that computes the sample, and again when a layer is recomputed.

One `DropoutStream` is shared by all layers of a model: it is about the samples of a pass. The trainer tells
it of each pass; a model that is evaluated needs none.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from deepseek_workloads.model.counter_random import WORDS, philox

_LEVELS = 2**16  # of a rate: 16 bits decide about an element
_PER_COUNTER = 2 * WORDS  # elements
_WORD = 0xFFFFFFFF
EMBEDDING, ATTENTION, AFTER_ATTENTION, AFTER_NETWORK = range(4)  # places within a layer


@dataclass
class DropoutStream:
    seed: int = 0
    step: int = 0
    samples: Tensor | None = field(default=None)  # int64 [B], global numbers of the rows of the pass

    def begin_step(self, *, seed: int, step: int) -> None:
        self.seed, self.step = seed, step

    def begin_pass(self, samples: Tensor) -> None:
        """Before forward; holds until after backward, where layers may be recomputed."""
        self.samples = samples

    def numbers(self, key: Tensor, rows: Tensor, columns: int) -> Tensor:
        """`key` int64 [A] of a layer, a place and a head; int64 [R] of rows -> int64 [B, A, R, columns],
        below 2**16. Raises RuntimeError before the first pass."""
        if self.samples is None:
            raise RuntimeError("dropout: no pass has begun; call dropout_stream.begin_pass, or eval()")
        device = rows.device
        blocks = torch.arange(-(-columns // _PER_COUNTER), device=device)
        words = philox(
            (
                blocks,
                rows.view(1, 1, -1, 1),
                (self.samples.to(device) & _WORD).view(-1, 1, 1, 1),
                torch.tensor(self.step & _WORD, device=device),
            ),
            (
                torch.tensor((self.seed ^ (self.seed >> 32)) & _WORD, device=device),
                key.to(device).view(1, -1, 1, 1),
            ),
        )
        halves = torch.stack([words & 0xFFFF, words >> 16], dim=-1)
        return halves.flatten(-3)[..., :columns]


class Dropout(nn.Module):
    """At one place of one layer."""

    def __init__(self, rate: float, *, layer: int, place: int) -> None:
        super().__init__()
        self.dropped = round(rate * _LEVELS)
        self.key = (layer << 18) | (place << 16)  # below it: the head
        self.stream = DropoutStream()  # the model's, once it is part of one

    @property
    def active(self) -> bool:
        return self.training and self.dropped > 0

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, H] -> the same shape; what is kept grows so that the mean stays."""
        if not self.active:
            return hidden
        rows = torch.arange(hidden.shape[1], device=hidden.device)
        return hidden * self.factors(rows, hidden.shape[2], heads=1).squeeze(1).to(hidden.dtype)

    def factors(self, rows: Tensor, columns: int, *, heads: int) -> Tensor:
        """int64 [R] -> [B, heads, R, columns]: zero, or what kept elements are multiplied by."""
        key = self.key + torch.arange(heads, device=rows.device)
        kept = self.stream.numbers(key, rows, columns) >= self.dropped
        return kept.to(torch.float32) * (_LEVELS / (_LEVELS - self.dropped))
