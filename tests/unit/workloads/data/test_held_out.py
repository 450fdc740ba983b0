import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract.records import SplitStatistics
from deepseek_workloads.data.blocks import TokenReader
from deepseek_workloads.data.cursor import DocumentStarts, SamplePlan
from deepseek_workloads.data.held_out import Baseline, HeldOutReader, baseline, held_out_samples
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore

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
            HeldOutReader(plan, [store]).batches(
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
    assert list(HeldOutReader(plan, [store]).batches(**options)) == []
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


def test_of_answers_there_is_no_unigram_baseline_for_all_text_was_counted() -> None:
    split = SplitStatistics(
        tokens=400, bytes=1600, predicted_tokens=100, predicted_bytes=200, unigram_bits_per_byte=2.0
    )
    source = SimpleNamespace(weight=1.0)
    plan = SimpleNamespace(
        packed=True,
        manifests=[SimpleNamespace(statistics={"heldOut": split})],
        held_out_windows=[SimpleNamespace(count=8)],
        data=SimpleNamespace(sources=[source]),
    )
    of_answers = baseline(cast(SamplePlan, plan), max_samples=4)
    assert of_answers == Baseline(unigram_bits_per_byte=None, tokens_per_byte=0.5)


class CountingStore:
    """How many requests a store sees, and for how many ranges."""

    def __init__(self, store: ObjectStore) -> None:
        self._store, self.ranges = store, []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read_ranges(self, ranges):
        self.ranges.append(len(ranges))
        return self._store.read_ranges(ranges)


def _contents(reader: HeldOutReader) -> list[list[list[int]]]:
    batches = reader.batches(rank=0, world_size=1, micro_batch_size=2, max_samples=20)
    return [batch.input_ids.tolist() for batch in batches]


def test_windows_are_read_together_a_chunk_once_and_kept_for_the_next_evaluation(
    new_store, write_dataset, make_data
) -> None:
    store = CountingStore(new_store("a"))
    plan = SamplePlan(make_data(), [write_dataset(store, [100], held_out_tokens=[41, 40])])
    reader = HeldOutReader(plan, [store])
    first = _contents(reader)
    assert store.ranges == [6]  # all chunks of both shards, in one request
    assert _contents(reader) == first
    assert store.ranges == [6]


def test_what_is_kept_is_bounded(new_store, write_dataset, make_data) -> None:
    store = CountingStore(new_store("a"))
    plan = SamplePlan(make_data(), [write_dataset(store, [100], held_out_tokens=[81])])
    reader = HeldOutReader(plan, [store], kept_bytes=5 * 2 * 16)  # 16 of 20 windows
    first = _contents(reader)
    assert _contents(reader) == first
    assert store.ranges == [6, 2]


@FIXTURES
@given(bounds=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 40)), max_size=8))
def test_reading_many_is_reading_each(bounds, new_store, write_dataset) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [60, 17, 70])
    reader = TokenReader(store, TokenSpace(manifest.train))
    windows = [(start, start + size) for start, size in bounds]
    read = [tokens.tolist() for tokens in reader.read_many(windows)]
    assert read == [list(range(start, end)) for start, end in windows]


def test_a_damaged_chunk_is_seen_when_many_are_read(new_store, write_dataset) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [60])
    store.put("data/train-0.bin", bytes(120))
    with pytest.raises(ObjectChanged, match="chunk 1"):
        TokenReader(store, TokenSpace(manifest.train)).read_many([(20, 24)])


def test_rows_that_fill_up_a_batch_are_no_longer_than_its_own(new_store, write_dataset, make_data) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [220], held_out_tokens=[220], dtype="uint32")
    starts = np.array([0, 200, 210, 220])
    plan = SamplePlan(
        make_data(sequence_length=256), [manifest], [DocumentStarts(starts, starts)], bucketed=2
    )
    batches = HeldOutReader(plan, [store]).batches(rank=0, world_size=1, micro_batch_size=2, max_samples=3)
    assert [(tuple(batch.input_ids.shape), batch.valid_rows) for batch in batches] == [
        ((2, 257), 2),
        ((2, 65), 1),
    ]
