"""Which source a global sample comes from, and the how-manieth of its source it is.

A pure function of (seed, weights, sample index). Every block of samples holds the sources in exact proportion
to their weights, in shuffled order. Weights may change at given samples: what lies between two changes is
mixed like a run of its own, and each source goes on where it stood. It does not know what a source holds.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.permutation import mix, permuted_positions

BLOCK_SAMPLES = 1024
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """From sample `start` on; 0 leaves a source out, 0.1 means one tenth exactly, not its nearest binary
    fraction."""

    start: int
    weights: Sequence[float]

    @property
    def fractions(self) -> list[Fraction]:
        return [Fraction(repr(float(weight))) for weight in self.weights]


@dataclass(frozen=True)
class _Block:
    sources: Numbers
    ordinals: Numbers


class Mixture:
    def __init__(self, weights: Sequence[float], *, seed: int, changes: Sequence[Stage] = ()) -> None:
        """Weights are relative, above 0. `changes` follow by rising starts, above 0."""
        if not weights or min(weights) <= 0:
            raise ValueError(f"weights {list(weights)}: at least one, and each above 0")
        self._stages = [Stage(0, weights), *changes]
        for before, after in pairwise(self._stages):
            if after.start <= before.start:
                raise ValueError(f"a change at sample {after.start} follows one at {before.start}: must rise")
            if len(after.weights) != len(weights) or min(after.weights) < 0 or sum(after.weights) <= 0:
                raise ValueError(f"weights {list(after.weights)}: one for each source, and one above 0")
        self._starts = [stage.start for stage in self._stages]
        self._fractions = [stage.fractions for stage in self._stages]
        self._seed = seed
        self._recent: tuple[tuple[int, int], _Block] | None = None
        self._bases = [[0] * len(weights)]  # samples of each source before each stage
        for number, (before, after) in enumerate(pairwise(self._stages)):
            given = self._counts_within(number, after.start - before.start)
            self._bases.append([base + count for base, count in zip(self._bases[-1], given, strict=True)])

    def locate(self, sample: int) -> tuple[int, int]:
        """(source, ordinal): this is sample number `ordinal` (from 0) of that source."""
        sources, ordinals = self.locate_many(np.array([sample]))
        return int(sources[0]), int(ordinals[0])

    def locate_many(self, samples: Numbers) -> tuple[Numbers, Numbers]:
        """`locate` of each of rising sample numbers: sources and ordinals, int64 [samples] each."""
        if len(self._fractions[0]) == 1:
            return np.zeros_like(samples), samples
        sources, ordinals = np.empty_like(samples), np.empty_like(samples)
        done = 0
        while done < len(samples):
            first = int(samples[done])
            stage = bisect_right(self._starts, first) - 1
            number, offset = divmod(first - self._starts[stage], BLOCK_SAMPLES)
            block = self._block(stage, number)
            begin = first - offset  # of the block
            end = int(np.searchsorted(samples, begin + len(block.sources)))
            places = samples[done:end] - begin
            sources[done:end], ordinals[done:end] = block.sources[places], block.ordinals[places]
            done = end
        return sources, ordinals

    def counts(self, samples: int) -> list[int]:
        """How many of the first `samples` each source gives when no block is cut; the sum is `samples`."""
        stage = bisect_right(self._starts, samples) - 1
        given = self._counts_within(stage, samples - self._starts[stage])
        return [base + count for base, count in zip(self._bases[stage], given, strict=True)]

    def _counts_within(self, stage: int, samples: int) -> list[int]:
        remaining, weight_left = samples, sum(self._fractions[stage], Fraction(0))
        counts = []
        for weight in self._fractions[stage]:
            count = int(remaining * weight / weight_left) if weight else 0
            counts.append(count)
            remaining -= count
            weight_left -= weight
        return counts

    def _block(self, stage: int, number: int) -> _Block:
        if self._recent is not None and self._recent[0] == (stage, number):
            return self._recent[1]
        begin, end = number * BLOCK_SAMPLES, (number + 1) * BLOCK_SAMPLES
        if stage + 1 < len(self._starts):
            end = min(end, self._starts[stage + 1] - self._starts[stage])
        before, after = self._counts_within(stage, begin), self._counts_within(stage, end)
        in_order = np.repeat(np.arange(len(before)), np.subtract(after, before))
        key = mix(self._seed, number) if stage == 0 else mix(self._seed, number, stage)
        sources = in_order[permuted_positions(end - begin, key=key)]
        ordinals = np.empty_like(sources)
        for source, (base, given) in enumerate(zip(self._bases[stage], before, strict=True)):
            of_source = sources == source
            ordinals[of_source] = base + given + np.arange(np.count_nonzero(of_source))
        block = _Block(sources, ordinals)
        self._recent = ((stage, number), block)
        return block
