from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.supervise.backoff import CAP_SECONDS, STABLE_SECONDS, next_delay, spread


def test_the_first_failure_is_answered_at_once() -> None:
    assert next_delay(None, uptime_seconds=1) == 0


def test_quick_failures_in_a_row_are_answered_more_and_more_slowly() -> None:
    delays = [next_delay(None, uptime_seconds=1)]
    for _ in range(9):
        delays.append(next_delay(delays[-1], uptime_seconds=1))
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 32, CAP_SECONDS, CAP_SECONDS]


@given(st.floats(0, 1000), st.floats(STABLE_SECONDS, 1e6))
def test_a_stable_run_starts_with_a_clean_slate(previous: float, uptime: float) -> None:
    assert next_delay(previous, uptime_seconds=uptime) == 0


@given(st.floats(0, CAP_SECONDS), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_spread_over_its_second_half(delay: float, drawn: float) -> None:
    assert delay / 2 <= spread(delay, uniform=lambda: drawn) <= delay
