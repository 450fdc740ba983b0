"""Records of what a teacher foresees: to which rows they belong, and that nothing is believed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from deepseek_workloads.contract.teacher_logits import TeacherLogits, TopKFile, TopKSource
from deepseek_workloads.data.blocks import Tokens
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.loss_mask import with_mask
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.rows import build_rows
from deepseek_workloads.data.samples import Samples
from deepseek_workloads.data.top_k import TopK, index_of, joined_records, record_of
from deepseek_workloads.data.top_k_reader import TopKReader
from deepseek_workloads.data.windows import PackedWindows, Windows, pack, separate
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ObjectChanged

LENGTH, K = 9, 2
STARTS = np.array([0, 3, 8, 9, 30, 31, 34])  # the fourth is cut, two have one token
PER_FILE = 2


def conversations() -> list[Tokens]:
    """Of each document its first T+1 tokens, every other one of which is an answer's."""
    sizes = np.minimum(np.diff(STARTS), LENGTH + 1)
    return [with_mask(np.arange(size, dtype=np.uint32) + 1, np.arange(size) % 2 == 1) for size in sizes]


def foreseen(positions: int, number: int) -> TopK:
    """By which every position of every record can be told from all others."""
    values = 100.0 * number + np.arange(positions * K, dtype=np.float32).reshape(positions, K)
    return TopK(np.arange(positions), values.astype(np.uint32), values, values[:, 0] + 0.5)


def counted_of(tokens: Tokens) -> int:
    return int((np.arange(1, len(tokens)) % 2 == 1).sum())


@pytest.fixture
def store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path)


def written(store: FileObjectStore, texts: Sequence[Tokens]) -> TeacherLogits:
    files = []
    for first in range(0, len(texts), PER_FILE):
        tokens = texts[first : first + PER_FILE]
        records = [
            record_of(foreseen(counted_of(of_text), number), slice(None))
            for number, of_text in enumerate(tokens, start=first)
        ]
        index, key = index_of(records, tokens, top_k=K), f"data/{first}"
        store.put(key, b"".join(records))
        store.put(f"{key}.index", index)
        files.append(
            TopKFile(
                key=key,
                records=len(records),
                size=sum(map(len, records)),
                index_key=f"{key}.index",
                index_checksum=object_checksum(index),
            )
        )
    return TeacherLogits(
        teacher_uri="s3://models/large",
        teacher_digest="sha256:t",
        top_k=K,
        temperature=2,
        vocab_size=64,
        objective="sft",
        sequence_length=LENGTH,
        sources=[TopKSource(dataset_digest="sha256:d", files=files)],
    )


def reader(store: FileObjectStore, stored: TeacherLogits, windows: Windows) -> TopKReader:
    return TopKReader(store, stored, ["sha256:d"], [windows])


def read(store: FileObjectStore, stored: TeacherLogits, windows: PackedWindows) -> TopK:
    """Of all windows, a row each."""
    sizes = np.diff(STARTS)
    texts = np.concatenate([np.resize(each, n) for each, n in zip(conversations(), sizes, strict=True)])
    tokens = [texts[slice(*windows.bounds(window))] for window in range(windows.count)]
    of_windows = [(windows, window) for window in range(windows.count)]
    rows = build_rows(tokens, of_windows, sequence_length=LENGTH)
    numbers = np.arange(windows.count)
    zeros = np.zeros_like(numbers)
    samples = Samples(zeros, numbers, zeros, numbers, zeros, numbers)
    return reader(store, stored, windows).read(samples, tokens, rows.counted)


@pytest.mark.parametrize("how", [pack, separate])
def test_a_row_has_the_records_of_its_conversations_however_they_are_packed(
    store: FileObjectStore, how: Callable[..., PackedWindows]
) -> None:
    texts = conversations()
    found = read(store, written(store, texts), how(STARTS, sequence_length=LENGTH))
    expected = [foreseen(counted_of(of_text), number) for number, of_text in enumerate(texts)]
    np.testing.assert_array_equal(found.ids, np.concatenate([each.ids for each in expected]))
    np.testing.assert_array_equal(
        found.log_probabilities, np.concatenate([each.log_probabilities for each in expected])
    )
    np.testing.assert_array_equal(found.log_rest, np.concatenate([each.log_rest for each in expected]))
    assert len(found.positions) == len(found.ids)


def test_conversations_that_are_dropped_are_left_out(store: FileObjectStore) -> None:
    texts = conversations()
    found = read(store, written(store, texts), pack(STARTS, sequence_length=LENGTH).without_cut())
    assert 300 not in found.ids
    assert len(found.ids) == sum(map(counted_of, texts)) - counted_of(texts[3])


def test_records_of_other_tokens_are_refused(store: FileObjectStore) -> None:
    texts = conversations()
    other = [of_text.copy() for of_text in texts]
    other[1][0] += 1
    with pytest.raises(ObjectChanged, match="record 1 is of other tokens than the run takes"):
        read(store, written(store, other), separate(STARTS, sequence_length=LENGTH))


def test_other_answers_of_the_same_words_are_refused(store: FileObjectStore) -> None:
    texts = conversations()
    other = [*texts[:1], with_mask(texts[1] & 0xFFFF, np.zeros(len(texts[1]), dtype=bool)), *texts[2:]]
    with pytest.raises(ObjectChanged, match="record 1 is of other tokens than the run takes"):
        read(store, written(store, other), separate(STARTS, sequence_length=LENGTH))


def test_an_index_that_was_replaced_is_refused(store: FileObjectStore) -> None:
    stored = written(store, conversations())
    store.put("data/2.index", bytes(48))
    with pytest.raises(ObjectChanged, match=r"data/2.index: its checksum is not the manifest's"):
        read(store, stored, separate(STARTS, sequence_length=LENGTH))


def test_an_index_that_points_beyond_its_file_is_refused(store: FileObjectStore) -> None:
    stored = written(store, conversations())
    (source,) = stored.sources
    files = [source.files[0].model_copy(update={"size": source.files[0].size + 1}), *source.files[1:]]
    lying = stored.model_copy(update={"sources": [source.model_copy(update={"files": files})]})
    with pytest.raises(ObjectChanged, match="no index of 2 records in"):
        read(store, lying, separate(STARTS, sequence_length=LENGTH))


def test_a_manifest_of_fewer_conversations_is_refused(store: FileObjectStore) -> None:
    stored = written(store, conversations()[:4])
    with pytest.raises(DatasetError, match="4 records of 6 texts"):
        reader(store, stored, pack(STARTS, sequence_length=LENGTH))


def test_no_records_are_no_positions() -> None:
    found = joined_records([], np.empty(0, dtype=np.int64), top_k=K)
    assert found.ids.shape == found.log_probabilities.shape == (0, K)
    assert found.log_rest.shape == (0,)
