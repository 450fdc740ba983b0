"""Attention to the newest tokens only (arXiv:2004.05150), counted as in Mistral: `slidingWindow` tokens, the
own one included.

Cost and memory grow with T times the window. On a CPU in blocks of queries; elsewhere in blocks of the
window's length, each with the one before.
"""

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal import attend_causally, attend_in_window, attend_masked
from deepseek_workloads.model.grouped_query import GroupedQueryAttention


class SlidingWindowAttention(GroupedQueryAttention):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.window = architecture.attention.sliding_window

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        new, seen = queries.shape[1], keys.shape[1]
        if seen <= self.window:
            return attend_causally(queries, keys, values, scale=self.scale)
        if new < seen:
            return self._of_last(queries, keys, values)
        if queries.device.type == "cpu":
            return attend_in_window(queries, keys, values, window=self.window, scale=self.scale)
        return self._in_blocks(queries, keys, values)

    def visible(self, mask: Tensor) -> Tensor:
        """Of the positions that a row has, the last ones."""
        after = mask.sum(-1, keepdim=True) - torch.arange(1, mask.shape[-1] + 1, device=mask.device)
        return mask & (after < self.window)

    def _of_last(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Fewer queries than keys: what none of them sees is left out."""
        new, seen = queries.shape[1], keys.shape[1]
        first = max(0, seen - new - self.window + 1)
        positions = torch.arange(seen - new, seen, device=queries.device).unsqueeze(1)
        behind = positions - torch.arange(first, seen, device=queries.device)
        mask = (behind >= 0) & (behind < self.window)
        return attend_masked(queries, keys[:, first:], values[:, first:], mask=mask, scale=self.scale)

    def _in_blocks(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[B, T, A, D] each; a block is a row of a batch of its own."""
        length, window = queries.shape[1], self.window
        blocks = -(-length // window)

        def cut(part: Tensor) -> Tensor:
            """[B, T, A, D] -> [B, blocks, window, A, D], zeros at the end."""
            padding = part.new_zeros(part.shape[0], blocks * window - length, *part.shape[2:])
            return torch.cat([part, padding], dim=1).view(part.shape[0], blocks, window, *part.shape[2:])

        def with_previous(part: Tensor) -> Tensor:
            """-> [B * blocks, 2 * window, A, D]; before the first there is nothing (masked)."""
            own = cut(part)
            before = torch.cat([torch.zeros_like(own[:, :1]), own[:, :-1]], dim=1)
            return torch.cat([before, own], dim=2).flatten(0, 1)

        own = torch.arange(window, device=queries.device).unsqueeze(1)
        behind = own + window - torch.arange(2 * window, device=queries.device)
        near = (behind >= 0) & (behind < window)
        exists = torch.ones(blocks, 1, 2 * window, dtype=torch.bool, device=queries.device)
        exists[0, :, :window] = False
        mask = (near & exists).repeat(queries.shape[0], 1, 1).unsqueeze(1)
        attended = attend_masked(
            cut(queries).flatten(0, 1),
            with_previous(keys),
            with_previous(values),
            mask=mask,
            scale=self.scale,
        )
        return attended.reshape(queries.shape[0], blocks * window, *attended.shape[2:])[:, :length]
