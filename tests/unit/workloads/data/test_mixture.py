from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_workloads.data.mixture import BLOCK_SAMPLES, Mixture, Stage

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


TWO_WEIGHTS = st.lists(st.sampled_from([0, 0.5, 1, 3]), min_size=2, max_size=2)
CHANGES = st.lists(st.tuples(st.integers(1, 3000), TWO_WEIGHTS), max_size=3)


def _changing(changes) -> Mixture:
    rising = sorted({start: weights for start, weights in changes if sum(weights)}.items())
    return Mixture([2, 1], seed=5, changes=[Stage(start, weights) for start, weights in rising])


@settings(max_examples=25, deadline=None)
@given(CHANGES)
def test_sources_go_on_where_they_stood_when_their_weights_change(changes) -> None:
    sources, ordinals = _changing(changes).locate_many(np.arange(5000))
    for source in (0, 1):
        of_source = ordinals[sources == source]
        assert sorted(of_source.tolist()) == list(range(len(of_source)))


@settings(max_examples=25, deadline=None)
@given(CHANGES, st.lists(st.integers(0, 6000), unique=True, max_size=30))
def test_samples_are_found_alone_where_they_are_found_together(changes, samples) -> None:
    mixture, samples = _changing(changes), sorted(samples)
    together = mixture.locate_many(np.array(samples, dtype=np.int64))
    alone = [_changing(changes).locate(sample) for sample in samples]
    assert list(zip(*(column.tolist() for column in together), strict=True)) == alone


def test_weights_hold_from_the_very_sample_of_their_change() -> None:
    mixture = Mixture([1, 1], seed=0, changes=[Stage(1500, [1, 0]), Stage(1600, [0, 1])])
    sources, _ = mixture.locate_many(np.arange(1500, 2000))
    assert sources.tolist() == [0] * 100 + [1] * 400
    assert mixture.counts(1500) == [750, 750]
    assert mixture.counts(2000) == [850, 1150]


def test_what_comes_before_a_change_does_not_depend_on_it() -> None:
    plain, changed = Mixture([1, 2], seed=3), Mixture([1, 2], seed=3, changes=[Stage(2048, [5, 1])])
    early = np.arange(2048)
    for ours, theirs in zip(plain.locate_many(early), changed.locate_many(early), strict=True):
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    "changes", [[Stage(0, [1, 1])], [Stage(9, [1, 1]), Stage(9, [1, 2])], [Stage(9, [0, 0])], [Stage(9, [1])]]
)
def test_changes_that_cannot_be_are_refused(changes) -> None:
    with pytest.raises(ValueError, match=r"must rise|one for each source"):
        Mixture([1, 1], seed=0, changes=changes)
