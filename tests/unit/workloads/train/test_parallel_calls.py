"""Calls side by side: results in order, the first error, and nothing begun after it."""

import threading

import pytest

from deepseek_workloads.train.parallel_calls import in_parallel

SECONDS = 60.0


def test_results_are_in_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def call(item: int) -> int:
        if item == 1:
            assert second_is_done.wait(SECONDS), "calls run side by side"
        else:
            second_is_done.set()
        return 10 * item

    assert in_parallel(call, [1, 2], threads=2) == [10, 20]
    assert in_parallel(call, [], threads=2) == []


def test_the_first_error_is_raised_and_what_had_not_begun_is_left_out() -> None:
    begun: list[int] = []

    def call(item: int) -> None:
        begun.append(item)
        if item == 2:
            raise ValueError(item)

    with pytest.raises(ValueError, match="2"):
        in_parallel(call, [1, 2, 3, 4], threads=1)
    assert begun == [1, 2]


def test_what_ends_a_process_is_raised_as_well() -> None:
    def call(_item: int) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        in_parallel(call, [1], threads=1)
