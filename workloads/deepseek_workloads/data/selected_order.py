"""The shuffled order of some of a source's windows: those that are not above a difficulty.

As `window_order`, whose order it is where all windows are chosen: blocks of the storage in shuffled order,
GROUP_BLOCKS at a time, whose chosen windows are mixed. Blocks without any are left out. It keeps a number for
each block, none for each chosen window.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.difficulty import Levels
from deepseek_workloads.data.permutation import mix, permute_many
from deepseek_workloads.data.window_order import BLOCKS_KEY, GROUP_BLOCKS, WINDOWS_KEY, Positions

_KEPT_EPOCHS = 2  # one, and the one that is read ahead


@dataclass(frozen=True)
class _Epoch:
    blocks: Positions  # by slot
    starts: Positions  # positions before each slot, and all


class SelectedOrder:
    def __init__(self, levels: Levels, *, max_level: int, block_windows: int, key: int) -> None:
        """`levels`: of all windows."""
        self._levels, self._max_level, self._key = levels, max_level, key
        self._block_windows = block_windows
        counts = np.add.reduceat(
            levels <= max_level, np.arange(0, len(levels), block_windows), dtype=np.int64
        )
        self._blocks = np.flatnonzero(counts)
        self._counts = counts[self._blocks]
        self._epochs: dict[int, _Epoch] = {}

    @property
    def windows(self) -> int:
        return int(self._counts.sum())

    @property
    def groups(self) -> int:
        return -(-len(self._blocks) // GROUP_BLOCKS)

    def chosen(self) -> npt.NDArray[np.bool_]:
        """Of all windows, which an epoch visits."""
        chosen: npt.NDArray[np.bool_] = self._levels <= self._max_level
        return chosen

    def windows_at(self, positions: Positions, *, epoch: int) -> Positions:
        """The window that is visited at each position of an epoch."""
        of_epoch = self._epoch(epoch)
        bounds = of_epoch.starts[self._group_slots()]
        group_of = np.searchsorted(bounds, positions, side="right") - 1
        mixed = np.empty_like(positions)
        for group in np.unique(group_of).tolist():
            here, start = group_of == group, int(bounds[group])
            key = mix(self._key, epoch, WINDOWS_KEY, group)
            size = int(bounds[group + 1]) - start
            mixed[here] = start + permute_many(positions[here] - start, size=size, key=key)
        slot_of = np.searchsorted(of_epoch.starts, mixed, side="right") - 1
        windows = np.empty_like(positions)
        for slot in np.unique(slot_of).tolist():
            here = slot_of == slot
            windows[here] = self._of_block(int(of_epoch.blocks[slot]))[mixed[here] - of_epoch.starts[slot]]
        return windows

    def group_at(self, position: int, *, epoch: int) -> int:
        bounds = self._epoch(epoch).starts[self._group_slots()]
        return int(np.searchsorted(bounds, position, side="right")) - 1

    def group_start(self, group: int, *, epoch: int) -> int:
        return int(self._epoch(epoch).starts[min(group * GROUP_BLOCKS, len(self._blocks))])

    def group_blocks(self, group: int, *, epoch: int) -> list[int]:
        slots = slice(group * GROUP_BLOCKS, (group + 1) * GROUP_BLOCKS)
        blocks: list[int] = self._epoch(epoch).blocks[slots].tolist()
        return blocks

    def _group_slots(self) -> Positions:
        """The first slot of each group, and their number."""
        return np.minimum(np.arange(self.groups + 1) * GROUP_BLOCKS, len(self._blocks))

    def _of_block(self, block: int) -> Positions:
        """Its chosen windows."""
        first = block * self._block_windows
        within = self._levels[first : first + self._block_windows] <= self._max_level
        return first + np.flatnonzero(within)

    def _epoch(self, epoch: int) -> _Epoch:
        known = self._epochs.get(epoch)
        if known is not None:
            return known
        slots = np.arange(len(self._blocks))
        shuffled = permute_many(slots, size=len(slots), key=mix(self._key, epoch, BLOCKS_KEY))
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._counts[shuffled])])
        made = _Epoch(self._blocks[shuffled], starts)
        kept = list(self._epochs.items())[1 - _KEPT_EPOCHS :]
        self._epochs = {**dict(kept), epoch: made}
        return made
