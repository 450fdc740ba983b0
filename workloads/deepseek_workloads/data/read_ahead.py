"""Which blocks a rank will need after those it is at, so far ahead that the store's latency is not seen, and
which it needs no more.

Windows are mixed within groups of blocks (`window_order`). When a source has entered a group, the blocks of
its next one are wanted: they arrive while this one is consumed. Pure; it does not read anything.
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.length_buckets import stretch_batches
from deepseek_workloads.data.samples import Samples
from deepseek_workloads.data.source_windows import Place, SourceWindows
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
        self._entered: dict[int, list[Place]] = {}  # by source, the newest: groups in use
        self._furthest: dict[int, int] = {}  # by source, of its samples
        self._ends = None if end_sample is None else plan.ordinals_before(end_sample)

    def after(self, samples: Samples) -> Turn:
        """What the batch of these samples changes: nothing, unless it is the first in a group."""
        wanted: list[BlockKey] = []
        left: set[BlockKey] = set()
        for source in np.unique(samples.source).tolist():
            here = self._plan.sources[source].place(self._reached(source, samples))
            entered = self._entered.setdefault(source, [])
            if here not in entered:
                entered.append(here)
                following = self._next_blocks(source, here)
                wanted += following
                in_use = groups_in_use(self._plan, self._plan.sources[source])
                while len(entered) > in_use:
                    left |= set(self._blocks(source, entered.pop(0)))
                left -= {*following, *(key for place in entered for key in self._blocks(source, place))}
        return Turn(wanted, left)

    def _reached(self, source: int, samples: Samples) -> int:
        """The number of a sample of the source that tells where reading is: the first of the batch; the
        furthest that was seen, where samples are rearranged by length."""
        ordinals = samples.ordinal[samples.source == source]
        if self._plan.bucketed is None:
            return int(ordinals[0])
        furthest = max(self._furthest.get(source, 0), int(ordinals.max()))
        self._furthest[source] = furthest
        return furthest

    def _next_blocks(self, source: int, here: Place) -> list[BlockKey]:
        """Of the group after this one, where the run gets that far."""
        following, begins = self._plan.sources[source].after(here)
        if self._ends is not None and self._ends[source] - begins < _WORTH_WHILE:
            return []
        return self._blocks(source, following)

    def _blocks(self, source: int, place: Place) -> list[BlockKey]:
        return [(source, block) for block in self._plan.sources[source].blocks(place)]


def groups_in_use(plan: SamplePlan, source: SourceWindows) -> int:
    """Groups of blocks that the samples of a batch may be of: one, but for those at the edge of two; as many
    as a stretch spans, where samples are rearranged within stretches."""
    if plan.bucketed is None:
        return 1
    stretch = plan.bucketed * stretch_batches(plan.bucketed)
    return 1 + -(-stretch // (GROUP_BLOCKS * source.order.block_windows))
