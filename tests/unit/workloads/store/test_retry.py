"""The budget of retries."""

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
