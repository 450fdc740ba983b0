"""Which documents are noise by the words of all documents, however these are cut into parts."""

import random
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_workloads.contract.pipeline import FilterTfIdf
from deepseek_workloads.data.prepare import document_frequencies
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.document_frequencies import (
    RANGES,
    WordBuckets,
    count_part,
    plan_totals,
    read_totals,
    total_range,
)
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter
from deepseek_workloads.data.prepare.dropped import dropped_documents, put_dropped
from deepseek_workloads.data.prepare.part_files import put_documents
from deepseek_workloads.data.prepare.tfidf_stage import drop_noise
from deepseek_workloads.data.prepare.word_rarity import word_weights
from deepseek_workloads.store.open import open_store

BOILERPLATE = "all rights reserved"
PROSE = f"the operator of job {{0}} watches loss {{1}} and step {{2}} in words of its own. {BOILERPLATE}"


@pytest.fixture(autouse=True)
def _small_table(monkeypatch) -> None:
    monkeypatch.setattr(document_frequencies, "BUCKETS", 2**16)


@pytest.fixture
def context(make_run) -> Context:
    return Context(run=make_run(), attempt="attempt", open_store=open_store)


@pytest.fixture
def put(context):
    def put(number: int, texts: list[str]):
        writer = DocumentWriter()
        for text in texts:
            writer.add(Document(text))
        with context.output() as store:
            return put_documents(context, store, writer, name="read", number=number)

    return put


def _totals(context, parts, dropped=()):
    counted = [count_part(context, "noise_counts", dropped, part) for part in parts]
    summing = partial(total_range, context, "noise_totals", counted)
    return counted, [summing(task) for task in plan_totals(len(parts))]


def _numbers(context, record, *, part=0) -> list[int]:
    with context.output() as store:
        return dropped_documents(store, [record], part=part).tolist()


def test_boilerplate_and_random_characters_go_and_prose_stays(context, put) -> None:
    letters = random.Random(1)
    noise = " ".join("".join(letters.choices("bcdfghjklm", k=9)) for _ in range(30))
    prose = [PROSE.format(at, at * 3, at * 7) for at in range(60)]
    part = put(0, [BOILERPLATE, *prose[:30], noise, *prose[30:]])
    counted, totals = _totals(context, [part])
    record = drop_noise(context, "noise", FilterTfIdf(), totals, counted[0].documents, (), part)
    assert _numbers(context, record) == [0, 31]
    assert [sample.reason for sample in record.samples] == ["meanTfIdf", "meanTfIdf"]
    low, high = (float(sample.detail) for sample in record.samples)
    assert low < FilterTfIdf().min_mean_weight < FilterTfIdf().max_mean_weight < high


def test_what_was_dropped_before_is_neither_counted_nor_judged(context, put) -> None:
    part = put(0, ["one", "two", "two"])
    with context.output() as store:
        gone = put_dropped(context, store, [np.array([2])], stage="equal", number=0, first_part=0)
    [counted], totals = _totals(context, [part], [gone])
    assert counted.documents == 2
    nothing_stays = FilterTfIdf(min_mean_weight=0, max_mean_weight=0)
    record = drop_noise(context, "noise", nothing_stays, totals, 2, [gone], part)
    assert _numbers(context, record) == [0, 1]


def test_a_single_document_has_nothing_to_be_compared_with(context, put) -> None:
    part = put(0, ["one"])
    _, totals = _totals(context, [part])
    assert _numbers(context, drop_noise(context, "noise", FilterTfIdf(), totals, 1, (), part)) == []


@settings(max_examples=25)
@given(texts=st.lists(st.lists(st.sampled_from("abcdef"), max_size=4).map(" ".join), min_size=1, max_size=8))
def test_counts_are_those_of_all_documents_wherever_parts_are_cut(texts) -> None:
    """Of the sums alone: rows of two parts that are added range by range."""
    buckets = WordBuckets()
    expected = Counter(bucket for text in texts for bucket in set(buckets.of(text).tolist()))
    for cut in range(len(texts) + 1):
        dense = np.zeros(document_frequencies.BUCKETS, dtype=np.uint32)
        for part in (texts[:cut], texts[cut:]):
            counts = np.zeros_like(dense)
            for text in part:
                counts[np.unique(buckets.of(text))] += 1
            rows = document_frequencies.sparse(counts)
            dense[rows["bucket"]] += rows["documents"]
        assert {at: int(dense[at]) for at in np.flatnonzero(dense).tolist()} == dict(expected)


def test_parts_are_summed_by_ranges_that_cover_every_word_once(context, put, monkeypatch) -> None:
    monkeypatch.setattr(document_frequencies, "PARTS_A_TASK", 1)
    parts = [put(number, [f"shared only{number}", "shared"]) for number in range(3)]
    counted, totals = _totals(context, parts)
    assert len(totals) == 3
    frequencies = read_totals(context, totals)
    of = WordBuckets().of("shared only0 only1 only2 absent")
    assert frequencies[of].tolist() == [6, 1, 1, 1, 0]
    assert sum(record.documents for record in counted) == 6


@given(st.integers(1, 10**6))
def test_ranges_of_any_number_of_parts_cover_all_buckets(parts) -> None:
    ranges = plan_totals(parts)
    assert [task.first for task in ranges] == [0, *(task.end for task in ranges[:-1])]
    assert ranges[-1].end == RANGES
    assert len(ranges) <= RANGES


@given(st.integers(2, 10**9), st.data())
def test_weights_fall_with_the_documents_that_hold_a_word(documents, data) -> None:
    holds = sorted(data.draw(st.lists(st.integers(1, documents), min_size=2, max_size=6)))
    weights = word_weights(np.array(holds), documents=documents)
    assert all(weights[:-1] >= weights[1:])
    assert weights.min() >= -1e-9
    assert weights.max() <= 1
