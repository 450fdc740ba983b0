"""Which source a global sample comes from, and the how-manieth of its source it is.

A pure function of (seed, weights, sample index). Every block of samples holds the sources in exact proportion
to their weights, in shuffled order. It does not know what a source holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from deepseek_workloads.data.permutation import mix, permuted_positions

BLOCK_SAMPLES = 1024


@dataclass(frozen=True)
class _Block:
    sources: list[int]
    ordinals: list[int]


class Mixture:
    def __init__(self, weights: Sequence[float], *, seed: int) -> None:
        """Weights are relative, above 0; 0.1 means one tenth exactly, not its nearest binary fraction."""
        if not weights or min(weights) <= 0:
            raise ValueError(f"weights {list(weights)}: at least one, and each above 0")
        self._weights = [Fraction(repr(float(weight))) for weight in weights]
        self._seed = seed
        self._recent: tuple[int, _Block] | None = None

    def locate(self, sample: int) -> tuple[int, int]:
        """(source, ordinal): this is sample number `ordinal` (from 0) of that source."""
        if len(self._weights) == 1:
            return 0, sample
        number, offset = divmod(sample, BLOCK_SAMPLES)
        block = self._block(number)
        return block.sources[offset], block.ordinals[offset]

    def counts(self, samples: int) -> list[int]:
        """How many of the first `samples` each source gives when no block is cut; the sum is `samples`."""
        remaining, weight_left = samples, sum(self._weights, Fraction(0))
        counts = []
        for weight in self._weights:
            count = int(remaining * weight / weight_left)
            counts.append(count)
            remaining -= count
            weight_left -= weight
        return counts

    def _block(self, number: int) -> _Block:
        if self._recent is not None and self._recent[0] == number:
            return self._recent[1]
        nexts = self.counts(number * BLOCK_SAMPLES)
        ends = self.counts((number + 1) * BLOCK_SAMPLES)
        in_order = [source for source, end in enumerate(ends) for _ in range(end - nexts[source])]
        order = permuted_positions(BLOCK_SAMPLES, key=mix(self._seed, number))
        sources = [in_order[position] for position in order]
        ordinals = []
        for source in sources:
            ordinals.append(nexts[source])
            nexts[source] += 1
        block = _Block(sources, ordinals)
        self._recent = (number, block)
        return block
