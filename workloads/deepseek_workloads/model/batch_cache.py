"""What the layers keep of sequences of different lengths that are decoded together, a row each.

Rows are dense from the first: a row that leaves is filled by the last one. It knows one token a row and step,
not how tokens are chosen; the tokens of a prompt come from `caches.LayerCache`s, whose two parts lie side by
side here.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

_FIRST_CAPACITY = 64  # positions; doubled when a row needs more


class OneSequence(Protocol):
    """In one layer: `caches.LayerCache`."""

    first: Tensor | None  # [1, S, R]
    second: Tensor | None  # [1, S, P]


class BatchCache:
    """One layer of a `BatchCaches`."""

    def __init__(self, states: Tensor) -> None:
        self.states = states  # [rows, capacity, R + P]
        self.lengths: Tensor | None = None  # of the step that is going on: int64 [B], without the new token
        self.mask: Tensor = torch.empty(0)  # bool [B, S]: positions of a row up to the new token

    def extend(self, first: Tensor, second: Tensor) -> Tensor:
        """[B, 1, R] and [B, 1, P] of the new tokens -> all states [B, S, R + P], padded on the right."""
        assert self.lengths is not None
        rows, seen = self.mask.shape
        index = torch.arange(rows, device=self.states.device)
        self.states[index, self.lengths] = torch.cat([first, second], dim=-1).squeeze(1).to(self.states.dtype)
        return self.states[:rows, :seen]


class BatchCaches:
    """Every layer of a model. Memory: rows times the longest row, in the dtype of the states."""

    def __init__(self, *, layers: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        """`width`: R + P."""
        self.layers = [
            BatchCache(torch.zeros(1, _FIRST_CAPACITY, width, dtype=dtype, device=device))
            for _ in range(layers)
        ]
        self._device = device
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> Tensor:
        """int64 [B]: positions of the next tokens."""
        return torch.tensor(self._lengths, device=self._device)

    def join(self, prompt: Sequence[OneSequence]) -> int:
        """A sequence, by the caches of its layers, becomes the last row, whose number is returned."""
        row = len(self._lengths)
        for layer, source in zip(self.layers, prompt, strict=True):
            assert source.first is not None
            assert source.second is not None
            states = torch.cat([source.first, source.second], dim=-1)[0]
            self._reserve(layer, rows=row + 1, positions=len(states) + 1)
            layer.states[row, : len(states)] = states
        self._lengths.append(len(states))
        return row

    def leave(self, row: int) -> None:
        """The last row takes this row's place."""
        last = len(self._lengths) - 1
        if row != last:
            for layer in self.layers:
                layer.states[row, : self._lengths[last]] = layer.states[last, : self._lengths[last]]
            self._lengths[row] = self._lengths[last]
        self._lengths.pop()

    def begin_step(self) -> None:
        """Room for one more token in each row. Then the model is called with `layers`, then `end_step`."""
        lengths, seen = self.lengths, max(self._lengths) + 1
        mask = torch.arange(seen, device=self._device) <= lengths.unsqueeze(1)
        for layer in self.layers:
            self._reserve(layer, rows=len(self._lengths), positions=seen)
            layer.lengths, layer.mask = lengths, mask

    def end_step(self) -> None:
        self._lengths = [length + 1 for length in self._lengths]

    def _reserve(self, layer: BatchCache, *, rows: int, positions: int) -> None:
        have_rows, have_positions, width = layer.states.shape
        if rows <= have_rows and positions <= have_positions:
            return
        shape = (_doubled(have_rows, rows), _doubled(have_positions, positions), width)
        states = layer.states.new_zeros(shape)
        states[:have_rows, :have_positions] = layer.states
        layer.states = states


def _doubled(size: int, wanted: int) -> int:
    while size < wanted:
        size *= 2
    return size
