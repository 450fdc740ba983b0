"""Conversations of similar length in one batch: each still comes once an epoch, whoever reads, and little is
padded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.sample_order import SampleRange
from deepseek_workloads.data.audit import audit_order, padding_share
from deepseek_workloads.data.cursor import DocumentStarts, SamplePlan
from deepseek_workloads.data.length_buckets import PADDED_TO, padded_length, rearranged, stretch_batches
from deepseek_workloads.data.stream import BatchStream

BATCH, LENGTH, CONVERSATIONS = 16, 2048, 3000


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    begun=st.lists(st.integers(0, 200), max_size=3),
    batch_size=st.integers(1, 9),
    key=st.integers(0, 99),
)
def test_samples_change_places_within_an_epoch_only_and_batches_are_neighbours_by_length(
    lengths, begun, batch_size, key
) -> None:
    epochs = np.searchsorted(sorted(begun), np.arange(len(lengths)), side="right")
    order = rearranged(np.array(lengths), epochs, batch_size=batch_size, key=key)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (epochs[order] == epochs).all()
    for first in range(0, len(lengths) - batch_size + 1, batch_size):
        batch = order[first : first + batch_size]
        if len(set(epochs[batch].tolist())) > 1:
            continue
        epoch = np.flatnonzero(epochs == epochs[batch[0]])
        by_length = np.sort(np.array(lengths)[epoch]).tolist()
        found = sorted(np.array(lengths)[batch].tolist())
        assert any(by_length[at : at + batch_size] == found for at in range(len(by_length) - batch_size + 1))


@pytest.mark.parametrize(
    ("longest", "rows"), [(0, 64), (1, 64), (64, 64), (65, 128), (2047, 2048), (2048, 2048), (90, 100)]
)
def test_rows_are_a_multiple_and_never_longer_than_a_sequence(longest: int, rows: int) -> None:
    assert padded_length(longest, most=100 if rows == 100 else 2048) == rows


@pytest.fixture(scope="module")
def starts() -> list[np.ndarray]:
    """Of two sources, with lengths as conversations have them: many short ones, and a long tail."""
    draw = np.random.default_rng(0)
    lengths = [draw.lognormal(5.8, 0.9, CONVERSATIONS).astype(np.int64) + 8 for _ in range(2)]
    return [np.concatenate([[0], np.cumsum(of_source)]) for of_source in lengths]


@pytest.fixture
def make_plan(new_store, write_dataset, make_data, starts):
    stores = [new_store(name) for name in "ab"]
    manifests = [
        write_dataset(store, [int(of_source[-1])], chunk_tokens=2048, dtype="uint32")
        for store, of_source in zip(stores, starts, strict=True)
    ]
    documents = [DocumentStarts(of_source, np.zeros(1, dtype=np.int64)) for of_source in starts]

    def make(*, bucketed: int | None = BATCH, **changes):
        data = make_data([2, 1], sequence_length=LENGTH, seed=3).model_copy(update=changes)
        return SamplePlan(data, manifests, documents, bucketed=bucketed), stores

    return make


@pytest.mark.parametrize("skip", [None, [SampleRange(from_sample=100, to_sample=137)]])
def test_each_conversation_comes_once_an_epoch(make_plan, skip) -> None:
    plan, _ = make_plan(skip=skip)
    samples = 2 * CONVERSATIONS + 1000
    assert all(source.in_order for source in audit_order(plan, samples=samples))
    found = plan.locate_many(np.arange(samples))
    resumed = plan.locate_many(np.arange(4321, samples))
    assert (resumed.sample_id == found.sample_id[4321:]).all()
    for first in range(0, 2 * CONVERSATIONS, BATCH):  # none twice in a batch
        assert len(set(found.sample_id[first : first + BATCH].tolist())) == BATCH


def test_little_is_padded(make_plan) -> None:
    """Beside batches in any order, padded to their longest, which lose more than half."""
    plan, _ = make_plan()
    samples = 250 * BATCH
    found = plan.locate_many(np.arange(samples))
    lengths = plan.tokens_of(found) / samples
    shuffled = np.random.default_rng(1).permutation(samples)
    unsorted = sum(
        plan.row_length(found.take(shuffled[first : first + BATCH])) * BATCH
        for first in range(0, samples, BATCH)
    )
    assert padding_share(plan, samples=samples) < 0.12
    assert 1 - lengths * samples / unsorted > 0.5


def test_a_source_goes_through_its_epoch_when_the_batches_of_a_stretch_are_many(make_plan) -> None:
    """A stretch that holds several epochs of the smaller source."""
    plan, _ = make_plan(bucketed=512)
    assert 512 * stretch_batches(512) > 4 * CONVERSATIONS
    assert all(source.in_order for source in audit_order(plan, samples=5 * CONVERSATIONS))


def test_batches_are_the_same_for_all_ranks_and_have_one_shape_a_step(make_plan, starts) -> None:
    plan, stores = make_plan()

    def read(world_size: int, micro_batch_size: int, prefetch: int, *, start: int = 0):
        """Sample ids and shapes of each step."""
        steps = [([], set(), set()) for _ in range((480 - start) // BATCH)]
        for rank in range(world_size):
            with BatchStream(
                plan,
                stores,
                rank=rank,
                world_size=world_size,
                global_batch_size=BATCH,
                micro_batch_size=micro_batch_size,
                start_sample=start,
                end_sample=480,
                prefetch_batches=prefetch,
            ) as stream:
                for ids, shapes, tokens in steps:
                    for batch in stream.next_step():
                        ids += batch.sample_ids
                        shapes.add(batch.input_ids.shape[1] - 1)
                        tokens.add(batch.step_tokens)
                        _are_their_tokens(batch)
        return steps

    def _are_their_tokens(batch) -> None:
        for row, number in enumerate(batch.sample_ids):
            source, window = divmod(number, CONVERSATIONS)
            first, end = starts[source][window : window + 2].tolist()
            expected = list(range(first, min(end, first + LENGTH + 1)))
            assert batch.rows.tokens(row) == expected

    steps = read(1, 16, 1)
    assert steps == read(4, 2, 7)
    assert steps[11:] == read(2, 3, 4, start=11 * BATCH)
    for ids, shapes, tokens in steps:
        lengths = [
            min(LENGTH, int(np.diff(starts[number // CONVERSATIONS])[number % CONVERSATIONS]) - 1)
            for number in ids
        ]
        assert shapes == {min(LENGTH, -(-max(lengths) // PADDED_TO) * PADDED_TO)}
        assert tokens == {sum(lengths)}


def test_what_is_read_is_kept_while_a_stretch_needs_it(make_plan) -> None:
    """No block is loaded twice in an epoch, though samples go to and fro between groups of blocks."""
    plan, stores = make_plan()
    with BatchStream(
        plan,
        stores,
        rank=0,
        world_size=1,
        global_batch_size=BATCH,
        micro_batch_size=BATCH,
        end_sample=CONVERSATIONS,
    ) as stream:
        loaded: list[object] = []
        load = stream._cache._load
        stream._cache._load = lambda key: (loaded.append(key), load(key))[1]
        for _ in range(CONVERSATIONS // BATCH):
            stream.next_step()
    assert len(loaded) == len(set(loaded))
