from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_workloads.data.mixture import BLOCK_SAMPLES, Mixture

WEIGHTS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=5)


@settings(max_examples=25)
@given(WEIGHTS, st.integers(0, 100), st.integers(0, 10**9))
def test_each_source_is_counted_without_gap_or_repeat_from_any_start(
    weights: list[float], seed: int, start: int
) -> None:
    seen = defaultdict(list)
    mixture = Mixture(weights, seed=seed)
    for sample in range(start, start + 2500):
        source, ordinal = mixture.locate(sample)
        seen[source].append(ordinal)
    for ordinals in seen.values():
        assert ordinals == list(range(ordinals[0], ordinals[0] + len(ordinals)))


@given(WEIGHTS, st.integers(0, 10**6))
def test_every_block_of_samples_holds_the_sources_by_weight(weights: list[float], block: int) -> None:
    mixture = Mixture(weights, seed=0)
    first = block * BLOCK_SAMPLES
    counts = Counter(mixture.locate(sample)[0] for sample in range(first, first + BLOCK_SAMPLES))
    for source, weight in enumerate(weights):
        assert abs(counts[source] - BLOCK_SAMPLES * weight / sum(weights)) <= len(weights)


def test_decimal_weights_mean_what_they_say() -> None:
    assert Mixture([0.1, 0.2, 0.7], seed=0).counts(1_000_000) == [100_000, 200_000, 700_000]


def test_sources_are_shuffled_so_that_no_rank_sees_only_one() -> None:
    mixture = Mixture([1, 1], seed=3)
    of_even_samples = {mixture.locate(sample)[0] for sample in range(0, 100, 2)}
    assert of_even_samples == {0, 1}


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [-1.0]])
def test_weights_must_be_above_zero(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Mixture(weights, seed=0)
