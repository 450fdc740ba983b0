"""The windows of one source's split, in the order in which a run visits them.

The how-manieth sample of the source -> epoch and window, in constant time. A source has one order from its
first sample on, or another one for each stage of a curriculum. It does not know other sources or ranks.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.data.window_order import Positions, WindowOrder
from deepseek_workloads.data.windows import PackedWindows, Windows


class Order(Protocol):
    """Of an epoch: a permutation of `windows` windows, block by block of the storage, in groups of blocks."""

    @property
    def windows(self) -> int: ...

    @property
    def groups(self) -> int: ...

    def chosen(self) -> npt.NDArray[np.bool_]:
        """Of all windows, which an epoch visits."""
        ...

    def windows_at(self, positions: Positions, *, epoch: int) -> Positions: ...

    def group_at(self, position: int, *, epoch: int) -> int: ...

    def group_start(self, group: int, *, epoch: int) -> int: ...

    def group_blocks(self, group: int, *, epoch: int) -> list[int]: ...


@dataclass(frozen=True)
class OrderStage:
    """From sample number `start` of the source on."""

    start: int
    first_epoch: int  # epochs that the stages before have begun
    order: Order


@dataclass(frozen=True)
class Place:
    """Where reading stands: a group of blocks in an epoch of a stage."""

    stage: int
    epoch: int
    group: int


def in_stages(orders: Sequence[tuple[int, Order]]) -> tuple[OrderStage, ...]:
    """`orders`: each with the sample number at which it begins, rising from 0. An epoch that the next stage
    cuts off is not gone on with."""
    stages, epochs = [], 0
    for (start, order), following in zip(orders, [*orders[1:], None], strict=True):
        stages.append(OrderStage(start, epochs, order))
        if following is not None and following[0] > start:
            epochs += -(-(following[0] - start) // order.windows)
    return tuple(stages)


@dataclass(frozen=True)
class SourceWindows:
    name: str
    space: TokenSpace
    order: WindowOrder  # of all windows: the blocks in which they are read
    windows: Windows
    stages: tuple[OrderStage, ...]

    def visited(self, ordinals: Positions) -> tuple[Positions, Positions]:
        """Epochs and windows of rising sample numbers of the source. No epoch is of two stages."""
        if len(self.stages) == 1:
            return _visited(self.stages[0], ordinals)
        epochs, windows = np.empty_like(ordinals), np.empty_like(ordinals)
        stage_of = np.searchsorted(self._starts, ordinals, side="right") - 1
        for number in np.unique(stage_of).tolist():
            here = stage_of == number
            epochs[here], windows[here] = _visited(self.stages[number], ordinals[here])
        return epochs, windows

    def epochs_of(self, samples: int) -> float:
        """How often the first `samples` of the source have visited a window that every stage draws from."""
        ends = [*self._starts[1:], samples]
        return sum(
            max(0, min(end, samples) - stage.start) / stage.order.windows
            for stage, end in zip(self.stages, ends, strict=True)
            if samples > stage.start
        )

    def whole(self, epoch: int) -> npt.NDArray[np.bool_]:
        """Of all windows, which the epoch visits in full: none of one that the next stage cuts off."""
        number = self._stage_of_epoch(epoch)
        stage = self.stages[number]
        end = stage.start + (epoch - stage.first_epoch + 1) * stage.order.windows
        if number + 1 < len(self.stages) and end > self.stages[number + 1].start:
            return np.zeros(self.order.windows, dtype=np.bool_)
        return stage.order.chosen()

    def allowed(self, epoch: int) -> npt.NDArray[np.bool_]:
        """Of all windows, which the epoch may visit."""
        return self.stages[self._stage_of_epoch(epoch)].order.chosen()

    def place(self, ordinal: int) -> Place:
        number = bisect_right(self._starts, ordinal) - 1
        stage = self.stages[number]
        within, position = divmod(ordinal - stage.start, stage.order.windows)
        epoch = stage.first_epoch + within
        return Place(number, epoch, stage.order.group_at(position, epoch=epoch))

    def after(self, place: Place) -> tuple[Place, int]:
        """The group that is read next, and the sample number of the source at which it begins."""
        stage = self.stages[place.stage]
        begins = stage.start + (place.epoch - stage.first_epoch) * stage.order.windows
        if place.group + 1 < stage.order.groups:
            begins += stage.order.group_start(place.group + 1, epoch=place.epoch)
            following = Place(place.stage, place.epoch, place.group + 1)
        else:
            begins += stage.order.windows
            following = Place(place.stage, place.epoch + 1, 0)
        number = bisect_right(self._starts, begins) - 1
        if number > place.stage:  # the stage ends before
            begins = self._starts[place.stage + 1]
            following = self.place(begins)
        return following, begins

    def blocks(self, place: Place) -> list[int]:
        return self.stages[place.stage].order.group_blocks(place.group, epoch=place.epoch)

    def block_tokens(self, block: int) -> tuple[int, int]:
        """Tokens start..end of a block: its windows, and what the last of them reads more."""
        first = block * self.order.block_windows
        last = min(first + self.order.block_windows, self.order.windows) - 1
        return self.windows.bounds(first)[0], self.windows.bounds(last)[1]

    def largest_block(self) -> int:
        """Tokens of it."""
        if not isinstance(self.windows, PackedWindows):
            return self.order.block_windows * self.windows.sequence_length + 1
        packed, size = self.windows, self.order.block_windows
        firsts = np.arange(0, packed.count, size)
        lasts = np.minimum(firsts + size, packed.count) - 1
        starts = packed.document_starts[packed.first_documents[firsts]]
        ends = packed.document_starts[packed.after_documents[lasts]]
        return int((ends - starts).max())

    def within_block(self, window: int) -> tuple[int, int]:
        """Where a window begins and ends within the tokens of its block."""
        first = window // self.order.block_windows * self.order.block_windows
        origin, _ = self.windows.bounds(first)
        start, end = self.windows.bounds(window)
        return start - origin, end - origin

    @property
    def _starts(self) -> list[int]:
        return [stage.start for stage in self.stages]

    def _stage_of_epoch(self, epoch: int) -> int:
        return bisect_right([stage.first_epoch for stage in self.stages], epoch) - 1


def _visited(stage: OrderStage, ordinals: Positions) -> tuple[Positions, Positions]:
    epochs, positions = np.divmod(ordinals - stage.start, stage.order.windows)
    epochs += stage.first_epoch
    windows = np.empty_like(positions)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        windows[here] = stage.order.windows_at(positions[here], epoch=epoch)
    return epochs, windows
