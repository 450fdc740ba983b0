"""The tokens of a source as one long line, over the shards that hold them. Pure arithmetic; no I/O."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from deepseek_workloads.contract.records import Shard


@dataclass(frozen=True, order=True)
class Segment:
    """Tokens start..end (end excluded) of one shard."""

    shard: int
    start: int
    end: int


class TokenSpace:
    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = tuple(shards)
        self._starts = [0, *accumulate(shard.tokens for shard in shards)]

    @property
    def tokens(self) -> int:
        return self._starts[-1]

    def segments(self, start: int, end: int) -> list[Segment]:
        """The pieces of shards that together are tokens start..end of the line."""
        if not 0 <= start <= end <= self.tokens:
            raise ValueError(f"tokens {start}..{end} are outside of 0..{self.tokens}")
        segments = []
        shard = bisect_right(self._starts, start) - 1
        while start < end:
            origin, limit = self._starts[shard], self._starts[shard + 1]
            stop = min(end, limit)
            if stop > start:
                segments.append(Segment(shard, start - origin, stop - origin))
            start, shard = stop, shard + 1
        return segments


def count_windows(tokens: int, *, sequence_length: int) -> int:
    """Windows of sequence_length + 1 tokens at a stride of sequence_length; what is left over is dropped."""
    return max(0, (tokens - 1) // sequence_length)
