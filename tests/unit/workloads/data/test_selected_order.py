"""The order of chosen windows: a permutation of them, in blocks; where all are chosen, the order of all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.selected_order import SelectedOrder
from deepseek_workloads.data.window_order import GROUP_BLOCKS, WindowOrder


@given(
    windows=st.integers(1, 400),
    block_windows=st.integers(1, 40),
    epoch=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_where_all_are_chosen_it_is_the_order_of_all(windows, block_windows, epoch, seed) -> None:
    everything = WindowOrder(windows=windows, block_windows=block_windows, key=seed)
    levels = np.zeros(windows, dtype=np.uint16)
    chosen = SelectedOrder(levels, max_level=0, block_windows=block_windows, key=seed)
    positions = np.arange(windows)
    assert chosen.groups == everything.groups
    assert (chosen.windows_at(positions, epoch=epoch) == everything.windows_at(positions, epoch=epoch)).all()
    for group in range(chosen.groups):
        assert chosen.group_start(group, epoch=epoch) == everything.group_start(group, epoch=epoch)
        assert chosen.group_blocks(group, epoch=epoch) == everything.group_blocks(group, epoch=epoch)


@given(
    levels=st.lists(st.integers(0, 3), min_size=1, max_size=300).filter(lambda levels: min(levels) < 2),
    block_windows=st.integers(1, 30),
    epoch=st.integers(0, 3),
)
def test_every_chosen_window_comes_once_and_from_the_blocks_of_its_group(
    levels, block_windows, epoch
) -> None:
    of_windows = np.array(levels, dtype=np.uint16)
    order = SelectedOrder(of_windows, max_level=1, block_windows=block_windows, key=7)
    positions = np.arange(order.windows)
    found = order.windows_at(positions, epoch=epoch)
    assert sorted(found.tolist()) == np.flatnonzero(of_windows <= 1).tolist()
    one_by_one = [int(order.windows_at(np.array([at]), epoch=epoch)[0]) for at in positions]
    assert one_by_one == found.tolist()
    for position, window in zip(positions.tolist(), found.tolist(), strict=True):
        group = order.group_at(position, epoch=epoch)
        blocks = order.group_blocks(group, epoch=epoch)
        assert order.group_start(group, epoch=epoch) <= position
        assert len(blocks) <= GROUP_BLOCKS
        assert window // block_windows in blocks
