from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_workloads.data.window_order import GROUP_BLOCKS, WindowOrder

ORDERS = st.builds(
    WindowOrder,
    windows=st.integers(1, 400),
    block_windows=st.integers(1, 50),
    key=st.integers(0, 2**64 - 1),
)


@settings(max_examples=40, deadline=None)
@given(ORDERS, st.integers(0, 1000))
def test_an_epoch_visits_every_window_exactly_once(order: WindowOrder, epoch: int) -> None:
    visited = sorted(order.window_at(position, epoch=epoch) for position in range(order.windows))
    assert visited == list(range(order.windows))


@settings(max_examples=40, deadline=None)
@given(ORDERS, st.integers(0, 1000))
def test_a_block_is_left_for_good_within_one_group(order: WindowOrder, epoch: int) -> None:
    """So each block is read once an epoch, by a reader that keeps GROUP_BLOCKS blocks."""
    group_windows = GROUP_BLOCKS * order.block_windows
    spans: dict[int, list[int]] = {}
    for position in range(order.windows):
        block = order.window_at(position, epoch=epoch) // order.block_windows
        spans.setdefault(block, []).append(position)
    assert all(positions[-1] - positions[0] < group_windows for positions in spans.values())


def test_epochs_differ() -> None:
    order = WindowOrder(windows=100, block_windows=10, key=1)
    epochs = {tuple(order.window_at(p, epoch=e) for p in range(100)) for e in range(10)}
    assert len(epochs) == 10


def test_windows_of_different_blocks_are_mixed() -> None:
    order = WindowOrder(windows=1000, block_windows=100, key=1)
    blocks_of_first_fifty = {order.window_at(position, epoch=0) // 100 for position in range(50)}
    assert len(blocks_of_first_fifty) == GROUP_BLOCKS


def test_a_position_costs_the_same_in_a_source_of_any_size() -> None:
    order = WindowOrder(windows=10**13 + 7, block_windows=8192, key=5)
    assert 0 <= order.window_at(10**13 + 6, epoch=10**6) < order.windows


@settings(max_examples=40, deadline=None)
@given(ORDERS, st.integers(0, 1000), st.data())
def test_many_positions_are_found_as_each_is(order: WindowOrder, epoch: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, order.windows - 1), min_size=1, max_size=50))
    windows = order.windows_at(np.array(positions), epoch=epoch)
    assert windows.tolist() == [order.window_at(position, epoch=epoch) for position in positions]


@settings(max_examples=40, deadline=None)
@given(ORDERS, st.integers(0, 1000))
def test_a_group_names_the_blocks_that_its_positions_visit(order: WindowOrder, epoch: int) -> None:
    starts = [order.group_start(group, epoch=epoch) for group in range(order.groups)]
    for group, (start, end) in enumerate(pairwise([*starts, order.windows])):
        visited = {order.window_at(p, epoch=epoch) // order.block_windows for p in range(start, end)}
        assert visited == set(order.group_blocks(group, epoch=epoch))
        assert {order.group_at(position, epoch=epoch) for position in (start, end - 1)} == {group}
