"""Which texts are computed together, and by whom."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.train.teacher_logits.parts import plan_parts, share_of

SIZES = st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=3)


@given(SIZES, st.integers(1, 20))
def test_every_text_is_in_one_part_in_its_order(sizes: list[list[int]], most: int) -> None:
    parts = plan_parts([np.array(of_source, dtype=np.int64) for of_source in sizes], most=most)
    texts = [(part.source, text) for part in parts for text in range(part.first, part.end)]
    assert texts == [
        (source, text) for source, of_source in enumerate(sizes) for text in range(len(of_source))
    ]
    assert [part.number for part in parts] == list(range(len(parts)))


@given(SIZES, st.integers(1, 20))
def test_a_part_has_as_many_positions_as_may_be_and_at_least_one_text(
    sizes: list[list[int]], most: int
) -> None:
    for part in plan_parts([np.array(of_source, dtype=np.int64) for of_source in sizes], most=most):
        of_source = sizes[part.source]
        assert sum(of_source[part.first : part.end]) <= most or part.end - part.first == 1
        if part.end < len(of_source):
            assert sum(of_source[part.first : part.end + 1]) > most


@given(st.integers(0, 40), st.integers(1, 6))
def test_every_part_is_of_one_process_and_shares_differ_by_one(texts: int, world_size: int) -> None:
    parts = plan_parts([np.full(texts, 1)], most=1)
    shares = [share_of(parts, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(part.number for share in shares for part in share) == list(range(texts))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
