"""The population stability index."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.prepare.drift.divergence import population_stability_index

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(10, 1000), min_size=1)


@given(COUNTS, st.integers(1, 50))
def test_equal_shares_do_not_diverge(counts, times) -> None:
    sample = {name: count * times for name, count in counts.items()}
    assert population_stability_index(counts, sample) == pytest.approx(0, abs=1e-12)


@given(COUNTS, COUNTS)
def test_it_is_never_negative(expected, sample) -> None:
    assert population_stability_index(expected, sample) >= 0


@given(st.integers(100, 900), st.integers(100, 900))
def test_it_is_the_same_both_ways_and_as_its_formula_says(a, e) -> None:
    one, other = {"x": a, "y": 1000 - a}, {"x": e, "y": 1000 - e}
    assert population_stability_index(one, other) == pytest.approx(population_stability_index(other, one))
    expected = (a - e) / 1000 * math.log(a / e) + (e - a) / 1000 * math.log((1000 - a) / (1000 - e))
    assert population_stability_index(one, other) == pytest.approx(expected)


@given(st.lists(st.integers(0, 400), min_size=2, max_size=5, unique=True).map(sorted))
def test_it_grows_with_the_shift(shifts) -> None:
    expected = {"x": 500, "y": 500}
    found = [population_stability_index(expected, {"x": 500 + each, "y": 500 - each}) for each in shifts]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_many_rare_languages_are_no_drift_and_a_new_frequent_one_is() -> None:
    expected = {"en": 99_000.0} | {f"r{number}": 10.0 for number in range(100)}
    usual = {"en": 990, "r1": 4, "r50": 6}
    assert population_stability_index(expected, usual) < 0.01
    assert population_stability_index(expected, {"en": 500, "new": 500}) > 0.25


def test_nothing_does_not_diverge() -> None:
    assert population_stability_index({}, {"x": 1}) == population_stability_index({"x": 1}, {}) == 0
