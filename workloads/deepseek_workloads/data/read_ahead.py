"""Which blocks a rank will need after those it is at, so far ahead that the store's latency is not seen, and
which it needs no more.

Windows are mixed within groups of blocks (`window_order`). When a source has entered a group, the blocks of
its next one are wanted: they arrive while this one is consumed. Pure; it does not read anything.
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from deepseek_workloads.data.cursor import SamplePlan, Samples
from deepseek_workloads.data.source_windows import Place
from deepseek_workloads.data.window_order import GROUP_BLOCKS

BlockKey = tuple[int, int]  # source, block
_WORTH_WHILE = 4 * GROUP_BLOCKS  # samples before the end of the run: fewer may not need all its blocks


@dataclass(frozen=True)
class Turn:
    """What a batch changes."""

    wanted: list[BlockKey]  # in the order in which an epoch visits them
    left: Set[BlockKey]  # not needed again before the epoch is over


class ReadAhead:
    """Of one rank, whose batches come in order."""

    def __init__(self, plan: SamplePlan, *, end_sample: int | None) -> None:
        self._plan = plan
        self._entered: dict[int, Place] = {}  # by source
        self._ends = None if end_sample is None else plan.ordinals_before(end_sample)

    def after(self, samples: Samples) -> Turn:
        """What the batch of these samples changes: nothing, unless it is the first in a group."""
        wanted: list[BlockKey] = []
        left: set[BlockKey] = set()
        sources, firsts = np.unique(samples.source, return_index=True)
        for source, first in zip(sources.tolist(), firsts.tolist(), strict=True):
            here = self._plan.sources[source].place(int(samples.ordinal[first]))
            before = self._entered.get(source)
            if before != here:
                self._entered[source] = here
                following = self._next_blocks(source, here)
                behind = self._blocks(source, before) if before is not None else []
                wanted += following
                left |= set(behind) - {*following, *self._blocks(source, here)}
        return Turn(wanted, left)

    def _next_blocks(self, source: int, here: Place) -> list[BlockKey]:
        """Of the group after this one, where the run gets that far."""
        following, begins = self._plan.sources[source].after(here)
        if self._ends is not None and self._ends[source] - begins < _WORTH_WHILE:
            return []
        return self._blocks(source, following)

    def _blocks(self, source: int, place: Place) -> list[BlockKey]:
        return [(source, block) for block in self._plan.sources[source].blocks(place)]
