from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.sample_order import SampleRange
from deepseek_workloads.data.cursor import SamplePlan, check_epochs
from deepseek_workloads.data.manifest import DatasetError

FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)


@FIXTURES
@given(
    sizes=st.lists(st.lists(st.integers(5, 90), min_size=1, max_size=4), min_size=1, max_size=3),
    weights=st.lists(st.sampled_from([0.1, 1.0, 2.5]), min_size=3, max_size=3),
    seed=st.integers(0, 2**31),
)
def test_a_window_comes_again_only_when_its_source_is_used_up(
    sizes, weights, seed, new_store, write_dataset, make_data
) -> None:
    manifests = [write_dataset(new_store(str(i)), size, chunk_tokens=2) for i, size in enumerate(sizes)]
    plan = SamplePlan(make_data(weights[: len(sizes)], seed=seed), manifests)
    seen: dict[int, Counter[int]] = defaultdict(Counter)
    for index in range(300):
        sample = plan.locate(index)
        seen[sample.source][sample.window] += 1
        counts = [seen[sample.source][window] for window in range(plan.sources[sample.source].order.windows)]
        assert max(counts) - min(counts) <= 1
        assert max(counts) == sample.epoch + 1


def test_sample_ids_name_the_content_over_all_sources(new_store, write_dataset, make_data) -> None:
    manifests = [write_dataset(new_store(name), [41]) for name in "ab"]  # 10 windows each
    plan = SamplePlan(make_data([1, 1]), manifests)
    ids = {
        (sample.source, sample.window): sample.sample_id for sample in (plan.locate(i) for i in range(100))
    }
    assert ids == {(source, window): source * 10 + window for source in (0, 1) for window in range(10)}


def test_blocks_cover_their_windows_and_one_token_more(new_store, write_dataset, make_data) -> None:
    plan = SamplePlan(make_data(), [write_dataset(new_store("a"), [100, 100], chunk_tokens=4)])
    source = plan.sources[0]
    spans = [source.block_tokens(block) for block in range(source.order.blocks)]
    assert spans[0][0] == 0
    assert all(end == start + 1 for (_, end), (start, _) in pairwise(spans))
    assert spans[-1][1] == source.order.windows * 4 + 1


def test_a_source_too_small_for_one_sample_is_refused(new_store, write_dataset, make_data) -> None:
    with pytest.raises(DatasetError, match="use a shorter sequenceLength") as caught:
        SamplePlan(make_data(sequence_length=16), [write_dataset(new_store("a"), [16])])
    assert caught.value.reason == reasons.EMPTY_DATASET


def test_sources_of_different_tokenizers_are_refused(new_store, write_dataset, make_data) -> None:
    manifests = [
        write_dataset(new_store("a"), [50]),
        write_dataset(new_store("b"), [50], tokenizer_digest="sha256:" + "1" * 64),
    ]
    with pytest.raises(DatasetError, match=r"source-1.*need the tokenizer of the first"):
        SamplePlan(make_data([1, 1]), manifests)


@FIXTURES
@given(
    gaps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=4),
    samples=st.integers(1, 200),
)
def test_skipped_places_are_left_out_and_all_others_stay_in_order(
    gaps, samples, new_store, write_dataset, make_data
) -> None:
    ranges, end = [], 0
    for distance, length in gaps:
        ranges.append(SampleRange(from_sample=end + distance, to_sample=end + distance + length))
        end = ranges[-1].to_sample
    manifests = [write_dataset(new_store(name), [90]) for name in "ab"]
    data = make_data([1, 2])
    skipping = SamplePlan(data.model_copy(update={"skip": ranges}), manifests)
    everything = SamplePlan(data, manifests)
    left = {place for skipped in ranges for place in range(skipped.from_sample, skipped.to_sample)}
    expected = [everything.locate(place) for place in range(samples + len(left)) if place not in left][
        :samples
    ]
    assert [skipping.locate(sample) for sample in range(samples)] == expected


def test_a_run_that_takes_more_epochs_than_allowed_is_refused_with_the_numbers(
    new_store, write_dataset, make_data
) -> None:
    data = make_data([1, 1])
    limited = data.sources[1].model_copy(update={"max_epochs": 2})
    data = data.model_copy(update={"sources": [data.sources[0], limited]})
    plan = SamplePlan(data, [write_dataset(new_store(name), [401]) for name in "ab"])  # 100 windows each
    check_epochs(plan, samples=400)
    with pytest.raises(
        DatasetError, match=r"'source-1'.*takes 205 samples of it, 2.05 epochs of its 100"
    ) as caught:
        check_epochs(plan, samples=410)
    assert caught.value.reason == reasons.TOO_MANY_EPOCHS
