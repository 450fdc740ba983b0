"""Passages that occurred before: found wherever parts are cut, and taken out word for word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import DeduplicateSubstrings
from deepseek_workloads.data.prepare import substring_repeats
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter
from deepseek_workloads.data.prepare.dropped import put_dropped
from deepseek_workloads.data.prepare.part_files import iter_documents, put_documents
from deepseek_workloads.data.prepare.stages.words import word_starts, words_of
from deepseek_workloads.data.prepare.substring_cut import cut_part, removed_words, without_words
from deepseek_workloads.data.prepare.substring_repeats import (
    REPEAT_DTYPE,
    find_repeats,
    plan_window_ranges,
    repeats_of_range,
)
from deepseek_workloads.data.prepare.substring_windows import (
    BASE,
    WINDOW_DTYPE,
    window_hashes,
    window_part,
    word_hashes,
)
from deepseek_workloads.store.open import open_store

PASSAGE = " ".join(f"word{number}" for number in range(10))
PARTS = st.lists(
    st.lists(st.lists(st.sampled_from("ab"), max_size=9), max_size=4), min_size=1, max_size=3
)  # of documents of words


@pytest.fixture
def context(make_run) -> Context:
    return Context(run=make_run(), attempt="attempt", open_store=open_store)


@pytest.fixture
def put(context):
    def put(number: int, texts: list[str]):
        writer = DocumentWriter()
        for text in texts:
            writer.add(Document(text, "en"))
        with context.output() as store:
            return put_documents(context, store, writer, name="read", number=number)

    return put


def _cut(context, parts, *, dropped=(), min_words=8):
    settings = DeduplicateSubstrings(min_words=min_words)
    windows = [window_part(context, "w", settings, dropped, part) for part in parts]
    repeats = [repeats_of_range(context, "r", windows, task) for task in plan_window_ranges(windows)]
    return [cut_part(context, "cut", settings, repeats, dropped, part) for part in parts]


def _texts(context, record) -> list[str]:
    with context.output() as store:
        return [document.text for _, document in iter_documents(store, record, ())]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(1, 6))
def test_the_hash_of_a_run_is_that_of_its_words_alone(hashes: list[int], n: int) -> None:
    found = window_hashes(np.array(hashes, dtype=np.uint64), n=n).tolist()
    runs = [hashes[at : at + n] for at in range(len(hashes) - n + 1)]
    assert found == [sum(each * BASE**power for power, each in enumerate(run)) % 2**64 for run in runs]


@given(PARTS, st.integers(1, 3))
def test_exactly_the_runs_that_occurred_before_are_repeats(parts, n: int) -> None:
    known: dict[str, int] = {}
    rows, expected, seen = [], [], set()
    for part, documents in enumerate(parts):
        of_part = [np.empty(0, dtype=WINDOW_DTYPE)]
        for number, words in enumerate(documents):
            hashes = window_hashes(word_hashes(words, known), n=n)
            of_document = np.empty(len(hashes), dtype=WINDOW_DTYPE)
            of_document["hash"], of_document["document"] = hashes, number
            of_document["word"] = np.arange(len(hashes))
            of_part.append(of_document)
            for at in range(len(words) - n + 1):
                run = tuple(words[at : at + n])
                expected += [(part, number, at)] if run in seen else []
                seen.add(run)
        rows.append(np.concatenate(of_part))
    found, starts = find_repeats(rows)
    by_part = np.split(found, starts[1:-1])
    assert found.dtype == REPEAT_DTYPE
    assert [(part, *row) for part, each in enumerate(by_part) for row in each.tolist()] == expected


@given(st.lists(st.sampled_from(["a", "bb", "语"]), max_size=12), st.data())
def test_what_stays_are_the_words_that_are_not_removed(words, data) -> None:
    spaces = data.draw(st.lists(st.sampled_from([" ", "\n\n"]), min_size=len(words), max_size=len(words)))
    text = "".join(word + space for word, space in zip(words, spaces, strict=True))
    removed = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))), dtype=bool
    )
    kept = without_words(text, word_starts(text), removed)
    assert words_of(kept) == [word for word, gone in zip(words, removed, strict=True) if not gone]
    assert removed.any() or kept == text


@given(st.lists(st.integers(0, 7), max_size=5), st.integers(1, 4))
def test_each_run_removes_its_words_once(first: list[int], n: int) -> None:
    removed = removed_words(np.array(first, dtype=np.uint32), words=12, n=n)
    assert np.flatnonzero(removed).tolist() == sorted({at + step for at in first for step in range(n)})


def test_a_passage_stays_where_it_is_first_and_all_around_it_stays(context, put) -> None:
    first = put(0, [f"first.\n\n{PASSAGE}\nend", "short"])
    second = put(1, [f"another begins\n\n{PASSAGE}   and ends", PASSAGE])
    records = _cut(context, [first, second])
    assert _texts(context, records[0]) == [f"first.\n\n{PASSAGE}\nend", "short"]
    assert _texts(context, records[1]) == ["another begins\n\nand ends"]
    [report] = records[1].reports
    assert (report.documents_in, report.documents_out, report.changed) == (2, 1, 1)
    assert report.dropped == {"repeatedPassage": 1}
    assert report.samples[0].detail == "10 words"
    assert report.samples[0].text.strip() == PASSAGE


def test_a_passage_within_one_document_is_a_repeat_too(context, put) -> None:
    [record] = _cut(context, [put(0, [f"{PASSAGE} then {PASSAGE} end"])])
    assert _texts(context, record) == [f"{PASSAGE} then end"]


def test_a_shorter_passage_stays(context, put) -> None:
    texts = [f"one {PASSAGE}", f"two {PASSAGE}"]
    [record] = _cut(context, [put(0, texts)], min_words=11)
    assert _texts(context, record) == texts


def test_documents_that_were_dropped_before_are_not_the_first(context, put) -> None:
    part = put(0, [PASSAGE, f"kept {PASSAGE}"])
    with context.output() as store:
        gone = put_dropped(context, store, [np.array([0])], stage="equal", number=0, first_part=0)
    [record] = _cut(context, [part], dropped=[gone])
    assert _texts(context, record) == [f"kept {PASSAGE}"]


def test_ranges_of_hashes_together_find_what_one_finds(context, put, monkeypatch) -> None:
    texts = [f"{number} {PASSAGE} {number}" for number in range(6)]
    [whole] = _cut(context, [put(0, texts)])
    expected = _texts(context, whole)
    monkeypatch.setattr(substring_repeats, "WINDOWS_A_TASK", 4)
    context = Context(run=context.run, attempt="ranges", open_store=open_store)
    [ranged] = _cut(context, [put(0, texts)])
    assert _texts(context, ranged) == expected == [texts[0], *(f"{at} {at}" for at in range(1, 6))]
