from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.data.prepare import deduplicate_stage
from deepseek_workloads.data.prepare.deduplicate_stage import find_duplicates, plan_ranges
from deepseek_workloads.data.prepare.documents import (
    BUCKETS,
    Document,
    DocumentWriter,
    is_held_out,
    iter_texts,
    normalize,
    sorted_hashes,
)
from deepseek_workloads.data.prepare.records import ReadRecord

PARTS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), min_size=1, max_size=5)


def _index(texts: list[str]):
    writer = DocumentWriter()
    for text in texts:
        writer.add(Document(text))
    return writer.index


@given(PARTS)
def test_the_first_of_equal_documents_stays(parts) -> None:
    dropped, starts = find_duplicates([sorted_hashes(_index(texts))[0] for texts in parts])
    seen: set[str] = set()
    for number, texts in enumerate(parts):
        repeats = {index for index, text in enumerate(texts) if text in seen or text in texts[:index]}
        assert set(dropped[starts[number] : starts[number + 1]].tolist()) == repeats
        seen |= set(texts)


@given(PARTS, st.integers(1, BUCKETS))
def test_ranges_of_hashes_together_find_the_same(parts, count) -> None:
    hashed = [sorted_hashes(_index(texts)) for texts in parts]
    bounds = [number * BUCKETS // count for number in range(count + 1)]
    found = set()
    for first, end in pairwise(bounds):
        pieces = [hashes[starts[first] : starts[end]] for hashes, starts in hashed]
        dropped, starts = find_duplicates(pieces)
        for part in range(len(parts)):
            found |= {(part, number) for number in dropped[starts[part] : starts[part + 1]].tolist()}
    dropped, starts = find_duplicates([hashes for hashes, _ in hashed])
    whole = {(p, n) for p in range(len(parts)) for n in dropped[starts[p] : starts[p + 1]].tolist()}
    assert found == whole


def test_many_documents_are_shared_among_tasks(monkeypatch) -> None:
    monkeypatch.setattr(deduplicate_stage, "DOCUMENTS_A_TASK", 10)
    file = FileEntry(key="k", size=0, checksum="c")
    record = ReadRecord(
        number=0, texts=file, index=file, hashes=file, bucket_starts=[], documents=25, text_bytes=1
    )
    ranges = plan_ranges([record])
    assert [(task.first, task.end) for task in ranges] == [(0, 85), (85, 170), (170, 256)]


def test_the_split_is_a_property_of_the_text() -> None:
    index = _index([f"document {number}" for number in range(4000)])
    held_out = is_held_out(index["low"], fraction=0.25)
    assert 850 < held_out.sum() < 1150
    assert (held_out == is_held_out(index["low"][::-1], fraction=0.25)[::-1]).all()


def test_documents_come_back_as_they_were() -> None:
    texts = ["naïve", "训练", "", "last"]
    writer = DocumentWriter()
    for text in texts:
        writer.add(Document(text))
    wanted = np.array([True, True, False, True])
    assert list(iter_texts(writer.texts, writer.index, wanted=wanted)) == [
        (0, "naïve"),
        (1, "训练"),
        (3, "last"),
    ]


@pytest.mark.parametrize(("form", "expected"), [("none", "e\u0301ﬁ"), ("nfc", "éﬁ"), ("nfkc", "éfi")])
def test_normalisation_is_the_named_unicode_form(form, expected) -> None:
    assert normalize("e\u0301ﬁ", form) == expected
