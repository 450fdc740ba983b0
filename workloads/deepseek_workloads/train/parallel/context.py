"""Context parallelism: each rank has a share of the positions of every sequence.

Attention gathers the latents of all positions (small: kv_lora_rank + qk_rope_head_dim a token, whatever the
number of heads); each rank expands them up to what its own positions see. A sequence is cut into two pieces a
rank, one early and one late, so that all ranks have the same work under a causal mask.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepseek_workloads.model.block import MixtureOfExperts
from deepseek_workloads.model.caches import SharedSequence
from deepseek_workloads.model.router import Router
from deepseek_workloads.train.parallel.collectives import gathered
from deepseek_workloads.train.parallel.kinds import become

PIECES = 2  # of a rank; `plan.layout_rules` has seen that a sequence has whole ones


@dataclass(frozen=True)
class ContextShard(SharedSequence):
    """What stands in the place of a layer's cache: it brings the tokens of the other ranks."""

    group: dist.ProcessGroup

    def own_positions(self, length: int, device: torch.device) -> Tensor:
        """int64 [T / ranks], ascending, of a sequence of `length` tokens."""
        rank, ranks = self.group.rank(), self.group.size()
        pieces = torch.arange(length, device=device).view(PIECES * ranks, -1)
        return pieces[[rank, PIECES * ranks - 1 - rank]].flatten()

    def extend(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T / ranks, ...] of this rank -> [B, T, ...] of the whole sequences, in their order."""
        width = first.shape[-1]
        every = gathered(torch.cat([first, second.to(first.dtype)], dim=-1), self.group)
        early, late = every.chunk(PIECES, dim=2)  # [ranks, B, piece, ...] each
        states = torch.cat([early, late.flip(0)]).movedim(0, 1).flatten(1, 2)
        return states[..., :width], states[..., width:]

    def spans(self, new: int, seen: int) -> list[tuple[slice, int]]:
        """Which of the `new` own positions see how many of the first `seen`: a causal mask within each."""
        piece = new // PIECES
        rank, last = self.group.rank(), PIECES * self.group.size() - 1 - self.group.rank()
        assert seen == new * self.group.size()
        return [
            (slice(0, piece), (rank + 1) * piece),
            (slice(piece, new), (last + 1) * piece),
        ]


def share_sequences(layers: nn.Module, group: dist.ProcessGroup) -> None:
    """In place: routers see whole sequences where a loss is of a sequence."""
    if group.size() == 1:
        return
    for module in list(layers.modules()):
        if isinstance(module, MixtureOfExperts):
            become(module.gate, _ContextRouter).group = group


class _ContextRouter(Router):
    """The gradient of a sequence's balance loss is a sum over its tokens once the frequencies, which have
    none, are known: a rank adds what its own tokens bring, and the mean over ranks is the whole."""

    group: dist.ProcessGroup

    def _sequence_counts(
        self, chosen: Tensor, real: Tensor | None, like: Tensor
    ) -> tuple[Tensor, int | Tensor]:
        counts, length = super()._sequence_counts(chosen, real, like)
        dist.all_reduce(counts, group=self.group)
        return counts, length * self.group.size()
