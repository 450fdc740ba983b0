"""Packing keeps documents whole, in order, each in one window, and windows within their length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.windows import FixedWindows, PackedWindows, pack


def packed(lengths: list[int], *, sequence_length: int) -> PackedWindows:
    return pack(np.cumsum([0, *lengths], dtype=np.int64), sequence_length=sequence_length)


def test_documents_share_a_window_as_long_as_they_fit() -> None:
    windows = packed([3, 2, 4, 1], sequence_length=4)
    assert [windows.bounds(window) for window in range(windows.count)] == [(0, 5), (5, 10)]
    assert windows.documents(0).tolist() == [0, 0, 0, 1, 1]


def test_a_document_that_fits_nowhere_is_cut_and_alone() -> None:
    windows = packed([2, 9, 2], sequence_length=4)
    assert [windows.bounds(window) for window in range(windows.count)] == [(0, 2), (2, 7), (11, 13)]


def test_a_document_that_would_be_cut_can_be_left_out() -> None:
    windows = packed([2, 9, 2, 5, 6], sequence_length=4).without_cut()
    assert [windows.bounds(window) for window in range(windows.count)] == [(0, 2), (11, 13), (13, 18)]
    assert windows.sizes(np.arange(3)).tolist() == [2, 2, 5]
    assert windows.documents(2).tolist() == [0] * 5


def test_no_documents_make_no_windows() -> None:
    assert packed([], sequence_length=4).count == 0


@given(st.lists(st.integers(1, 12), max_size=40), st.integers(2, 8))
def test_every_document_is_in_exactly_one_window(lengths: list[int], sequence_length: int) -> None:
    windows = packed(lengths, sequence_length=sequence_length)
    starts = np.cumsum([0, *lengths]).tolist()
    seen = []
    for window in range(windows.count):
        start, end = windows.bounds(window)
        assert 0 < end - start <= sequence_length + 1
        of_window = windows.documents(window)
        assert len(of_window) == end - start
        changes = [start, *(start + np.flatnonzero(np.diff(of_window)) + 1).tolist()]
        seen += changes
        for begin in changes:
            length = lengths[starts.index(begin)]
            assert length <= end - begin or len(changes) == 1
    assert seen == starts[:-1]


@pytest.mark.parametrize(("tokens", "count"), [(0, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_running_text_is_cut_at_a_fixed_stride(tokens: int, count: int) -> None:
    windows = FixedWindows(tokens, sequence_length=4)
    assert windows.count == count
    assert [windows.bounds(window) for window in range(count)] == [(0, 5), (4, 9)][:count]
