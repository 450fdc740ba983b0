"""What a rank gets, over real files; the store counts what is read."""

import threading
from itertools import islice

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.store.interface import ObjectChanged

FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)


class CountingStore:
    """Counts the bytes that are read; everything else is the store's below it."""

    def __init__(self, store) -> None:
        self._store = store
        self.bytes_read = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read_ranges(self, ranges):
        self.bytes_read += sum(asked.end - asked.start for asked in ranges)
        return self._store.read_ranges(ranges)

    def read_with_info(self, ranges):
        self.bytes_read += sum(asked.end - asked.start for asked in ranges)
        return self._store.read_with_info(ranges)


def _steps(plan, stores, *, world_size, steps, micro=2, start=0, **options):
    """Rows of each global batch, ranks put together in order: [(sample id, token ids), ...]."""
    rows = [[] for _ in range(steps)]
    for rank in range(world_size):
        with BatchStream(
            plan,
            stores,
            rank=rank,
            world_size=world_size,
            global_batch_size=12,
            micro_batch_size=micro,
            start_sample=start,
            **options,
        ) as stream:
            for step in range(steps):
                for batch in islice(stream, stream.micro_batches_per_step):
                    rows[step] += zip(batch.sample_ids, batch.input_ids.tolist(), strict=True)
                assert batch.last_of_step
    return rows


@pytest.fixture
def two_sources(new_store, write_dataset, make_data):
    stores = [new_store("a"), new_store("b")]
    manifests = [
        write_dataset(stores[0], [90, 1, 130], chunk_tokens=5),
        write_dataset(stores[1], [301], first_id=10_000, chunk_tokens=7),
    ]
    return SamplePlan(make_data([2.0, 1.0], seed=11), manifests), stores


@FIXTURES
@given(
    world_size=st.sampled_from([1, 2, 3, 4, 6, 12]),
    micro=st.integers(1, 13),
    prefetch=st.integers(1, 9),
    threads=st.integers(1, 4),
    cache_bytes=st.sampled_from([None, 0, 200]),
)
def test_global_batches_do_not_depend_on_the_topology(
    two_sources, world_size, micro, prefetch, threads, cache_bytes
) -> None:
    plan, stores = two_sources
    expected = _steps(plan, stores, world_size=1, steps=8, micro=12)
    options = {"prefetch_batches": prefetch, "read_threads": threads, "cache_bytes": cache_bytes}
    assert _steps(plan, stores, world_size=world_size, steps=8, micro=micro, **options) == expected


def test_a_stream_resumes_at_the_exact_sample(two_sources) -> None:
    plan, stores = two_sources
    undisturbed = _steps(plan, stores, world_size=2, steps=10)
    resumed = _steps(plan, stores, world_size=3, steps=4, start=6 * 12)
    assert resumed == undisturbed[6:]


def test_a_batch_is_the_window_of_its_sample(new_store, write_dataset, make_data) -> None:
    """Token ids equal their position, so window w of length 4 is 4w..4w+4, over the border of shards too."""
    store = new_store("a")
    plan = SamplePlan(make_data(), [write_dataset(store, [30, 31], chunk_tokens=4)])
    for row in _steps(plan, [store], world_size=1, steps=4):
        for sample_id, tokens in row:
            assert tokens == list(range(4 * sample_id, 4 * sample_id + 5))


def test_batches_are_int64_of_b_by_sequence_length_plus_one(two_sources) -> None:
    plan, stores = two_sources
    with BatchStream(plan, stores, rank=0, world_size=1, global_batch_size=5, micro_batch_size=3) as stream:
        shapes = [(batch.input_ids.shape, batch.last_of_step) for batch in islice(stream, 4)]
        assert next(stream).input_ids.dtype == torch.int64
    assert shapes == [((3, 5), False), ((2, 5), True)] * 2


def test_ids_of_uint32_shards_arrive_whole(new_store, write_dataset, make_data) -> None:
    store = new_store("a")
    plan = SamplePlan(make_data(), [write_dataset(store, [50], first_id=100_000, dtype="uint32")])
    ids = [token for row in _steps(plan, [store], world_size=1, steps=1)[0] for token in row[1]]
    assert min(ids) >= 100_000


def test_each_block_is_read_once_an_epoch(new_store, write_dataset, make_data) -> None:
    """2048 windows in 64 blocks of 32, groups of 8: with the default cache nothing is read twice."""
    store = CountingStore(new_store("a"))
    plan = SamplePlan(make_data(), [write_dataset(store, [8193], chunk_tokens=16)])
    _steps(plan, [store], world_size=1, steps=2048 // 12, end_sample=2040)
    edges = 64 * 16 * 2  # every block needs one token, hence one chunk, of the next
    assert store.bytes_read <= 8193 * 2 + edges


def test_nothing_is_read_beyond_the_end(two_sources) -> None:
    plan, stores = two_sources
    with BatchStream(
        plan, stores, rank=0, world_size=1, global_batch_size=12, micro_batch_size=12, end_sample=30
    ) as stream:
        assert [batch.first_sample for batch in stream] == [0, 12, 24]


def test_a_damaged_chunk_stops_the_stream_and_is_named(new_store, write_dataset, make_data) -> None:
    store = new_store("a")
    plan = SamplePlan(make_data(), [write_dataset(store, [100])])
    content = bytearray(store.read("data/train-0.bin"))
    content[40] ^= 1
    store.put("data/train-0.bin", bytes(content))
    with pytest.raises(ObjectChanged, match=r"data/train-0\.bin: chunk 1"):
        _steps(plan, [store], world_size=1, steps=3)


def test_a_truncated_shard_is_named(new_store, write_dataset, make_data) -> None:
    store = new_store("a")
    plan = SamplePlan(make_data(), [write_dataset(store, [100])])
    store.put("data/train-0.bin", store.read("data/train-0.bin")[:-2])
    with pytest.raises(ObjectChanged, match="198 bytes: the manifest says 200"):
        _steps(plan, [store], world_size=1, steps=1)


class OnceDamagedStore(CountingStore):
    """Gives one wrong answer, as a bit flip on the way would."""

    damaged = False

    def read_ranges(self, ranges):
        contents = super().read_ranges(ranges)
        if not self.damaged:
            self.damaged = True
            contents[0] = bytes([contents[0][0] ^ 1]) + contents[0][1:]
        return contents


class FirstDamagedStore(CountingStore):
    """As above, of what is read first of an object."""

    damaged = False

    def read_with_info(self, ranges):
        (content, info), *others = super().read_with_info(ranges)
        if not self.damaged:
            self.damaged = True
            content = bytes([content[0] ^ 1]) + content[1:]
        return [(content, info), *others]


@pytest.mark.parametrize("damaging", [OnceDamagedStore, FirstDamagedStore])
def test_damage_on_the_way_is_read_again(new_store, write_dataset, make_data, damaging) -> None:
    store = damaging(new_store("a"))
    plan = SamplePlan(make_data(), [write_dataset(store, [400])])  # in several blocks, one at a time
    rows = _steps(plan, [store], world_size=1, steps=2, read_threads=1)[0]
    assert store.damaged
    assert all(tokens[0] == 4 * sample_id for sample_id, tokens in rows)


def test_a_closed_stream_leaves_no_thread(two_sources) -> None:
    plan, stores = two_sources
    before = threading.active_count()
    stream = BatchStream(plan, stores, rank=0, world_size=1, global_batch_size=12, micro_batch_size=4)
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_size": 5}, "globalBatchSize 12: must be divisible by the 5 ranks"),
        ({"rank": 2}, r"rank 2: must be in 0\.\.1"),
        ({"micro_batch_size": 0}, "microBatchSize 0: must be 1 or more"),
    ],
)
def test_a_slice_that_cannot_be_is_refused(two_sources, change, message) -> None:
    plan, stores = two_sources
    options = {"rank": 0, "world_size": 2, "global_batch_size": 12, "micro_batch_size": 2} | change
    with pytest.raises(ValueError, match=message):
        BatchStream(plan, stores, **options)


def test_counts_that_no_object_has_are_refused_before_memory_is_taken_for_them(
    new_store, write_dataset, make_data
) -> None:
    """A planted manifest, which agrees with itself."""
    store = new_store("a")
    manifest = write_dataset(store, [100], chunk_tokens=100)
    huge = {"tokens": 10**15, "chunk_tokens": 10**15, "size": 2 * 10**15}
    planted = manifest.model_copy(update={"train": [manifest.train[0].model_copy(update=huge)]})
    store.create("manifest.json", planted.to_json())
    plan = SamplePlan(make_data(), [load_manifest(store, None)])
    with (
        pytest.raises(ObjectChanged, match=f"the manifest says {2 * 10**15}"),
        BatchStream(plan, [store], rank=0, world_size=1, global_batch_size=2, micro_batch_size=1) as stream,
    ):
        next(iter(stream))
