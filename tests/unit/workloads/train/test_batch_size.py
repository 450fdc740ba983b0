"""The largest pass that fits is told from two small ones, and nothing is tried that might not fit."""

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.train.batch_size import Measured, ProcessMeter, fitting, measure
from deepseek_workloads.train.group import LocalGroup

GROUP = LocalGroup(0, 1, torch.device("cpu"))


class Linear:
    """A rank whose passes take `fixed` bytes, and `each` a sequence."""

    def __init__(self, *, fixed: int, each: int, limit: int) -> None:
        self.fixed, self.each, self.limit = fixed, each, limit
        self.tried: list[int] = []

    def rehearse(self, sequences: int) -> None:
        self.tried.append(sequences)

    def held(self) -> int:
        return self.fixed

    def peak(self, work: Callable[[], None]) -> int:
        work()
        return self.fixed + self.each * self.tried[-1]

    def found(self, *, to_come: int = 0, most: int = 64) -> int:
        return measure(self.rehearse, self, GROUP, to_come=to_come, most=most)


def test_it_takes_80_percent_of_what_fits() -> None:
    rank = Linear(fixed=100, each=10, limit=400)
    assert rank.found(to_come=100) == 16  # of 20
    assert rank.tried == [1, 1, 2]


def test_a_step_has_no_more_sequences_than_a_rank_reads() -> None:
    assert Linear(fixed=100, each=10, limit=10**6).found(most=8) == 8
    alone = Linear(fixed=100, each=10, limit=10**6)
    assert alone.found(most=1) == 1
    assert alone.tried == []


def test_two_sequences_are_not_tried_where_they_might_not_fit() -> None:
    rank = Linear(fixed=100, each=100, limit=250)
    assert rank.found() == 1
    assert 2 not in rank.tried


@given(
    fixed=st.integers(0, 10**6),
    each=st.integers(1, 10**6),
    limit=st.integers(1, 10**9),
    to_come=st.integers(0, 10**6),
    most=st.integers(1, 4096),
)
def test_what_is_chosen_fits_with_room_to_spare(
    fixed: int, each: int, limit: int, to_come: int, most: int
) -> None:
    chosen = fitting(Measured(fixed + each, fixed + 2 * each, to_come, limit), most=most)
    largest = (limit - fixed - to_come) // each
    assert 1 <= chosen <= most
    assert chosen == 1 or chosen <= 0.8 * largest
    assert chosen == most or chosen + 1 > 0.8 * largest


def test_the_memory_of_a_process_is_seen_at_its_peak() -> None:
    meter = ProcessMeter(limit=2**40)
    size = 128 * 2**20

    def touch() -> None:
        torch.ones(size, dtype=torch.uint8)

    before = meter.held()
    with_tensor = meter.peak(touch)
    without = meter.peak(lambda: None)
    assert with_tensor - before > size // 2
    assert with_tensor - without > size // 2
