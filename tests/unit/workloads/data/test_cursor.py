from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.cursor import SamplePlan
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
