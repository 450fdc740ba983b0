"""Documents of running text, known from the index beside the shards, over real files."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.document_borders import DocumentBorders, check_document_index
from deepseek_workloads.data.held_out import HeldOutReader
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.rows import IGNORED
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.store.interface import ObjectChanged

FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
STARTS = [[0, 3, 4, 40], [0, 17], [0, 2, 63]]  # of the shards' documents
SIZES = [90, 31, 130]
LINE = [0, 3, 4, 40, 90, 107, 121, 123, 184]  # the same in the line of all shards


class Reads:
    """Counts the whole objects that are read; everything else is the store's below it."""

    def __init__(self, store) -> None:
        self._store, self.keys = store, []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read(self, key):
        self.keys.append(key)
        return self._store.read(key)


def indexed(store, shards, starts):
    """Shards whose offset files say where documents begin."""
    found = []
    for shard, of_shard in zip(shards, starts, strict=True):
        content = np.array(of_shard, dtype="<u8").tobytes()
        store.put(shard.document_offsets_key, content)
        update = {"documents": len(of_shard), "document_offsets_checksum": object_checksum(content)}
        found.append(shard.model_copy(update=update))
    return found


@pytest.fixture
def dataset(new_store, write_dataset):
    """Token n of the line has the id n."""
    store = new_store("a")
    manifest = write_dataset(store, SIZES, held_out_tokens=[40], chunk_tokens=5)
    split = {
        "train": indexed(store, manifest.train, STARTS),
        "held_out": indexed(store, manifest.held_out, [[0, 10]]),
    }
    return store, manifest.model_copy(update=split)


@pytest.fixture
def masked(dataset, make_data):
    store, manifest = dataset
    return SamplePlan(make_data().model_copy(update={"document_mask": True}), [manifest]), store


@FIXTURES
@given(bounds=st.tuples(st.integers(0, 251), st.integers(0, 251)).map(sorted))
def test_borders_are_those_of_the_line_whatever_is_read(dataset, bounds) -> None:
    store, manifest = dataset
    start, end = bounds
    found = DocumentBorders(store, TokenSpace(manifest.train)).read(start, end)
    assert found.tolist() == [first - start for first in LINE if start <= first < end]


def _documents(plan, store, *, world_size, micro):
    rows = []
    for rank in range(world_size):
        options = {"global_batch_size": 12, "micro_batch_size": micro, "end_sample": 36}
        with BatchStream(plan, [store], rank=rank, world_size=world_size, **options) as stream:
            for number, batch in enumerate(islice(stream, 3 * stream.micro_batches_per_step)):
                assert batch.rows.documents is not None
                step = number // stream.micro_batches_per_step
                parts = (batch.rows.input_ids, batch.rows.documents, batch.rows.labels)
                rows += [(step, *row) for row in zip(*(part.tolist() for part in parts), strict=True)]
    return sorted(rows)


def test_a_row_says_where_its_documents_end_and_predicts_nothing_across(masked) -> None:
    plan, store = masked
    for _, ids, documents, labels in _documents(plan, store, world_size=1, micro=4):
        for column in range(1, len(ids)):
            begins = ids[column] in LINE
            assert (documents[column] != documents[column - 1]) == begins
            assert labels[column - 1] == (IGNORED if begins else ids[column])


@pytest.mark.parametrize(("world_size", "micro"), [(2, 6), (3, 1), (4, 2)])
def test_documents_do_not_depend_on_the_topology(masked, world_size, micro) -> None:
    plan, store = masked
    assert _documents(plan, store, world_size=world_size, micro=micro) == _documents(
        plan, store, world_size=1, micro=12
    )


def test_a_block_reads_the_index_of_its_own_shards_once(new_store, write_dataset, make_data) -> None:
    store = Reads(new_store("a"))
    manifest = write_dataset(store, [1025, 1024], chunk_tokens=64)  # blocks of 512 tokens
    manifest = manifest.model_copy(update={"train": indexed(store, manifest.train, [[0, 700], [0]])})
    plan = SamplePlan(make_data().model_copy(update={"document_mask": True}), [manifest])
    options = {"rank": 0, "world_size": 1, "global_batch_size": 8, "micro_batch_size": 8}
    with BatchStream(plan, [store], prefetch_batches=1, read_threads=1, end_sample=512, **options) as stream:
        assert len(list(stream)) == 64
    assert sorted(store.keys) == [f"data/train-{number}.bin.offsets" for number in range(2)]


def test_held_out_text_is_masked_alike(masked) -> None:
    plan, store = masked
    options = {"rank": 0, "world_size": 1, "micro_batch_size": 9, "max_samples": 9}
    (batch,) = HeldOutReader(plan, [store]).batches(**options)
    row = batch.rows.input_ids.tolist().index([8, 9, 10, 11, 12])
    assert batch.rows.documents is not None
    assert batch.rows.documents[row].tolist() == [0, 0, 1, 1, 1]
    assert batch.rows.labels[row].tolist() == [9, IGNORED, 11, 12]


def test_without_the_setting_documents_are_nobodys_business(dataset, make_data) -> None:
    store, manifest = dataset
    plan, reads = SamplePlan(make_data(), [manifest]), Reads(store)
    options = {"rank": 0, "world_size": 1, "global_batch_size": 4, "micro_batch_size": 4}
    with BatchStream(plan, [reads], **options) as stream:
        rows = next(stream).rows
    assert rows.documents is None
    assert torch.equal(rows.labels, rows.input_ids[:, 1:])
    assert reads.keys == []


def test_an_index_that_was_changed_is_no_index(dataset) -> None:
    store, manifest = dataset
    store.put(manifest.train[1].document_offsets_key, bytes(16))
    with pytest.raises(ObjectChanged, match=r"train-1\.bin\.offsets: its checksum is not the manifest's"):
        DocumentBorders(store, TokenSpace(manifest.train)).read(80, 100)


def test_a_dataset_without_an_index_is_refused(dataset, new_store, write_dataset) -> None:
    store, manifest = dataset
    check_document_index(store, [*manifest.train, *manifest.held_out])
    store.put(manifest.train[2].document_offsets_key, bytes(16))
    with pytest.raises(DatasetError, match=r"has 16 bytes, for 3 documents 24: spec\.data\.documentMask"):
        check_document_index(store, manifest.train)
    bare = new_store("bare")
    with pytest.raises(DatasetError, match=r"does not exist: .* prepare the dataset again"):
        check_document_index(bare, write_dataset(bare, [10]).train)
