import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.permutation import (
    inverse_permute,
    mix,
    mix_many,
    permute,
    permute_many,
    permuted_positions,
)

SIZES = st.integers(1, 700)
KEYS = st.integers(0, 2**64 - 1)


@given(SIZES, KEYS)
def test_every_position_is_hit_exactly_once(size: int, key: int) -> None:
    assert sorted(permute(index, size=size, key=key) for index in range(size)) == list(range(size))


@given(st.integers(1, 2**48), KEYS, st.data())
def test_the_inverse_finds_the_index_again(size: int, key: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert inverse_permute(permute(index, size=size, key=key), size=size, key=key) == index


@given(SIZES, KEYS)
def test_the_whole_permutation_of_a_small_range_sorts_it_by_hash(size: int, key: int) -> None:
    by_hash = sorted(range(size), key=lambda index: (mix(key, index), index))
    assert permuted_positions(size, key=key) == by_hash


def test_the_order_is_pinned_so_that_an_upgrade_cannot_reshuffle_a_running_job() -> None:
    assert mix(1, 2, 3) == 0x48CF5028B6DF10DB
    assert [permute(index, size=10, key=7) for index in range(10)] == [1, 3, 7, 4, 6, 5, 2, 9, 8, 0]


def test_another_key_gives_another_order() -> None:
    orders = {tuple(permute(index, size=100, key=key) for index in range(100)) for key in range(20)}
    assert len(orders) == 20


def test_first_image_is_spread_over_the_whole_range() -> None:
    """Each tenth of 1000 keys' images of index 0 falls into each tenth of the range, within 5 sigma."""
    tenths = [permute(0, size=1000, key=mix(key)) // 100 for key in range(1000)]
    assert all(55 <= tenths.count(tenth) <= 148 for tenth in range(10))


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_of_the_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=r"outside of 0\.\.9"):
        permute(index, size=10, key=0)


@given(st.integers(1, 2**62), KEYS, st.data())
def test_many_indices_go_where_each_goes(size: int, key: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    images = permute_many(np.array(indices, dtype=np.int64), size=size, key=key)
    assert images.tolist() == [permute(index, size=size, key=key) for index in indices]


@given(KEYS, st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_many_values_hash_as_each_does(key: int, values: list[int]) -> None:
    assert mix_many(key, np.array(values, dtype=np.int64)).tolist() == [mix(key, value) for value in values]
