"""The learning rate at each step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.optimization import Schedule
from deepseek_workloads.train.schedule import learning_rate


def curve(schedule: Schedule, total: int) -> list[float]:
    return [learning_rate(schedule, peak=1.0, step=step, total_steps=total) for step in range(1, total + 1)]


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert curve(Schedule(warmup_steps=4), 10)[:4] == [0.25, 0.5, 0.75, 1.0]


def test_cosine_is_half_way_in_the_middle_and_ends_at_the_least() -> None:
    rates = curve(Schedule(min_ratio=0.1), 101)
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)


def test_linear_falls_by_equal_parts() -> None:
    assert curve(Schedule(name="linear", min_ratio=0.0), 5) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_constant_stays() -> None:
    assert curve(Schedule(name="constant", warmup_steps=1), 4) == [1, 1, 1, 1]


def test_polynomial_falls_with_its_power() -> None:
    rates = curve(Schedule(name="polynomial", power=2, min_ratio=0.0), 5)
    assert rates == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16, 0])


def test_wsd_is_stable_and_comes_down_in_the_last_steps() -> None:
    rates = curve(Schedule(name="wsd", warmup_steps=2, decay_steps=4, min_ratio=0.0), 10)
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


def test_wsd_comes_down_in_a_tenth_of_the_steps_unless_told() -> None:
    assert [rate < 1 for rate in curve(Schedule(name="wsd"), 30)].count(True) == 3


def test_a_run_of_one_step_has_the_peak() -> None:
    assert curve(Schedule(), 1) == [1.0]


@pytest.mark.parametrize("step", [0, 11])
def test_a_step_outside_the_run_is_an_error(step: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.10"):
        learning_rate(Schedule(), peak=1.0, step=step, total_steps=10)


@given(
    st.sampled_from(["cosine", "linear", "polynomial", "wsd", "constant"]),
    st.integers(0, 50),
    st.integers(1, 60),
    st.floats(0, 1),
)
def test_it_rises_then_falls_and_stays_within_its_bounds(
    name: str, warmup: int, total: int, least: float
) -> None:
    schedule = Schedule.model_validate({"name": name, "warmup_steps": warmup, "min_ratio": least})
    rates = curve(schedule, total)
    top = min(warmup, total)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(0 < rate <= 1 or least == 0 for rate in rates)
