"""The budget of retries."""

import random

import pytest

from deepseek_workloads.store.retry import RetryPolicy


def test_waits_grow_to_the_cap_and_end_with_the_attempts() -> None:
    policy = RetryPolicy(attempts=5, base_seconds=1, cap_seconds=3)
    waits = [policy.delay(failures, elapsed=0, uniform=lambda: 1.0) for failures in range(1, 6)]
    assert waits == [1, 2, 3, 3, None]


def test_jitter_spreads_over_the_whole_interval() -> None:
    assert RetryPolicy(base_seconds=1).delay(1, elapsed=0, uniform=lambda: 0.25) == 0.25


def test_no_attempt_is_begun_after_the_budget_of_seconds() -> None:
    policy = RetryPolicy(attempts=100, budget_seconds=10, base_seconds=1)
    assert policy.delay(1, elapsed=9.5, uniform=lambda: 1.0) is None


def _given_up_after(policy: RetryPolicy, *, attempt_seconds: float, seed: int) -> float:
    """Seconds from the first failure of a store that stays away, by a clock that only the waits move."""
    uniform = random.Random(seed).random
    clock, failures = 0.0, 1
    while (wait := policy.delay(failures, elapsed=clock, uniform=uniform)) is not None:
        clock += wait + attempt_seconds
        failures += 1
    return clock


@pytest.mark.parametrize("attempt_seconds", [0.0, 0.005, 5.0], ids=["refused", "busy", "connect times out"])
def test_a_store_that_is_away_for_thirty_seconds_ends_no_reader(attempt_seconds: float) -> None:
    ends = [_given_up_after(RetryPolicy(), attempt_seconds=attempt_seconds, seed=seed) for seed in range(500)]
    assert min(ends) >= 80  # the budget, less the longest wait
    assert max(ends) <= 95


def test_a_failure_after_very_many_is_judged_by_time_alone() -> None:
    assert RetryPolicy().delay(100_000, elapsed=0, uniform=lambda: 1.0) == 10
