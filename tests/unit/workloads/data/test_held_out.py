import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract.records import SplitStatistics
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.held_out import baseline, held_out_batches, held_out_samples

FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)


@FIXTURES
@given(world_size=st.integers(1, 7), micro=st.integers(1, 5), max_samples=st.integers(1, 30))
def test_all_ranks_together_see_each_sample_once_in_equal_shapes(
    world_size, micro, max_samples, new_store, write_dataset, make_data
) -> None:
    store = new_store("a")
    plan = SamplePlan(make_data(), [write_dataset(store, [100], held_out_tokens=[41, 40])])
    ranks = [
        list(
            held_out_batches(
                plan,
                [store],
                rank=rank,
                world_size=world_size,
                micro_batch_size=micro,
                max_samples=max_samples,
            )
        )
        for rank in range(world_size)
    ]
    assert len({tuple(batch.input_ids.shape for batch in batches) for batches in ranks}) == 1
    firsts = [
        row[0]
        for batches in ranks
        for batch in batches
        for row in batch.input_ids.tolist()[: batch.valid_rows]
    ]
    samples = held_out_samples(plan, max_samples=max_samples)
    assert sorted(firsts) == [4 * sample.window for sample in samples]
    assert len(samples) == min(max_samples, 20)


def test_sources_share_the_samples_by_weight(new_store, write_dataset, make_data) -> None:
    manifests = [write_dataset(new_store(name), [100], held_out_tokens=[401]) for name in "ab"]
    plan = SamplePlan(make_data([3.0, 1.0]), manifests)
    samples = held_out_samples(plan, max_samples=40)
    assert [sum(sample.source == source for sample in samples) for source in (0, 1)] == [30, 10]


def test_a_small_source_leaves_its_share_to_the_others(new_store, write_dataset, make_data) -> None:
    manifests = [
        write_dataset(new_store("a"), [100], held_out_tokens=[9]),
        write_dataset(new_store("b"), [100], held_out_tokens=[401]),
        write_dataset(new_store("c"), [100]),
    ]
    samples = held_out_samples(SamplePlan(make_data([1, 1, 1]), manifests), max_samples=50)
    assert [sum(sample.source == source for sample in samples) for source in (0, 1, 2)] == [2, 48, 0]


def test_no_held_out_text_is_no_evaluation_and_no_baseline(new_store, write_dataset, make_data) -> None:
    store = new_store("a")
    plan = SamplePlan(make_data(), [write_dataset(store, [100])])
    options = {"rank": 0, "world_size": 1, "micro_batch_size": 2, "max_samples": 8}
    assert list(held_out_batches(plan, [store], **options)) == []
    assert baseline(plan, max_samples=8) is None


def test_the_baseline_mixes_sources_by_the_bytes_of_their_samples(
    new_store, write_dataset, make_data
) -> None:
    english = SplitStatistics(tokens=400, bytes=1600, unigram_bits_per_byte=2.0)  # 4 bytes a token
    chinese = SplitStatistics(tokens=400, bytes=800, unigram_bits_per_byte=5.0)  # 2 bytes a token
    manifests = [
        write_dataset(new_store(name), [100], held_out_tokens=[400], held_out=split)
        for name, split in (("a", english), ("b", chinese))
    ]
    mixed = baseline(SamplePlan(make_data([1, 1]), manifests), max_samples=20)
    assert mixed is not None
    assert mixed.unigram_bits_per_byte == pytest.approx((4 * 2.0 + 2 * 5.0) / 6)
    assert mixed.tokens_per_byte == pytest.approx(2 / 6)
    assert mixed.bits_per_byte(math.log(2) * 3) == pytest.approx(1.0)
