"""The shuffled order of one source's windows, in two levels, so that storage is read in large pieces.

Windows that lie together form a block. An epoch visits the blocks in shuffled order, GROUP_BLOCKS at a time,
and mixes the windows of such a group. Position -> window is a pure function of (key, epoch, position).
It does not know tokens, shards or ranks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.permutation import inverse_permute, mix, permute, permute_many

Positions = npt.NDArray[np.int64]

GROUP_BLOCKS = 8
BLOCKS_KEY, WINDOWS_KEY = 1, 2  # levels of the shuffle


@dataclass(frozen=True)
class WindowOrder:
    windows: int
    block_windows: int  # of every block but the last
    key: int

    @property
    def blocks(self) -> int:
        return -(-self.windows // self.block_windows)

    def chosen(self) -> npt.NDArray[np.bool_]:
        """Of all windows, which an epoch visits."""
        return np.ones(self.windows, dtype=np.bool_)

    def window_at(self, position: int, *, epoch: int) -> int:
        """The window that is visited at `position` (0..windows-1) of an epoch."""
        if not 0 <= position < self.windows:
            raise ValueError(f"position {position} is outside of 0..{self.windows - 1}")
        short_slot = self._short_slot(epoch)
        group = self._find(position, short_slot, blocks_a_step=GROUP_BLOCKS)
        start, end = (self._slot_start(slot * GROUP_BLOCKS, short_slot) for slot in (group, group + 1))
        key = mix(self.key, epoch, WINDOWS_KEY, group)
        mixed = start + permute(position - start, size=end - start, key=key)
        slot = self._find(mixed, short_slot, blocks_a_step=1)
        block = permute(slot, size=self.blocks, key=mix(self.key, epoch, BLOCKS_KEY))
        return block * self.block_windows + mixed - self._slot_start(slot, short_slot)

    def windows_at(self, positions: Positions, *, epoch: int) -> Positions:
        """`window_at` of each position: positions that lie together cost little more than one."""
        short_slot = self._short_slot(epoch)
        group_of = self._find_many(positions, short_slot, blocks_a_step=GROUP_BLOCKS)
        mixed = np.empty_like(positions)
        for group in np.unique(group_of).tolist():
            start, end = (self._slot_start(slot * GROUP_BLOCKS, short_slot) for slot in (group, group + 1))
            key = mix(self.key, epoch, WINDOWS_KEY, group)
            chosen = group_of == group
            mixed[chosen] = start + permute_many(positions[chosen] - start, size=end - start, key=key)
        slots, slot_of = np.unique(self._find_many(mixed, short_slot, blocks_a_step=1), return_inverse=True)
        blocks_key = mix(self.key, epoch, BLOCKS_KEY)
        origins = [
            permute(slot, size=self.blocks, key=blocks_key) * self.block_windows
            - self._slot_start(slot, short_slot)
            for slot in slots.tolist()
        ]
        windows: Positions = mixed + np.array(origins, dtype=np.int64)[slot_of]
        return windows

    def group_at(self, position: int, *, epoch: int) -> int:
        """The number of the group of blocks that is read at `position` of an epoch."""
        return self._find(position, self._short_slot(epoch), blocks_a_step=GROUP_BLOCKS)

    def group_start(self, group: int, *, epoch: int) -> int:
        """The first position of a group of blocks in an epoch."""
        return self._slot_start(group * GROUP_BLOCKS, self._short_slot(epoch))

    @property
    def groups(self) -> int:
        """Of an epoch."""
        return -(-self.blocks // GROUP_BLOCKS)

    def group_blocks(self, group: int, *, epoch: int) -> list[int]:
        """The blocks whose windows an epoch mixes in its group number `group`."""
        slots = range(group * GROUP_BLOCKS, min((group + 1) * GROUP_BLOCKS, self.blocks))
        key = mix(self.key, epoch, BLOCKS_KEY)
        return [permute(slot, size=self.blocks, key=key) for slot in slots]

    def _short_slot(self, epoch: int) -> int:
        """Where in the order of blocks the last one stands: it alone may be short."""
        key = mix(self.key, epoch, BLOCKS_KEY)
        return inverse_permute(self.blocks - 1, size=self.blocks, key=key)

    def _slot_start(self, slot: int, short_slot: int) -> int:
        """Positions before `slot` in the order of blocks."""
        missing = self.blocks * self.block_windows - self.windows
        start = min(slot, self.blocks) * self.block_windows
        return start - missing if slot > short_slot else start

    def _find(self, position: int, short_slot: int, *, blocks_a_step: int) -> int:
        """The step (of that many blocks) that holds `position`: at most one beyond the even division,
        as only one block is short."""
        step = position // (blocks_a_step * self.block_windows)
        return step + (position >= self._slot_start((step + 1) * blocks_a_step, short_slot))

    def _find_many(self, positions: Positions, short_slot: int, *, blocks_a_step: int) -> Positions:
        steps = positions // (blocks_a_step * self.block_windows)
        ends = (steps + 1) * blocks_a_step
        missing = self.blocks * self.block_windows - self.windows
        starts = np.minimum(ends, self.blocks) * self.block_windows - missing * (ends > short_slot)
        found: Positions = steps + (positions >= starts)
        return found
