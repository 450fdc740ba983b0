"""A chain of stages: what is counted, and what reaches the next one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import (
    SAMPLE_CHARACTERS,
    SAMPLES_A_REASON,
    Dropped,
    StageCounts,
    apply_stages,
)


def _drop_short(document):
    return Dropped("short", str(len(document.text))) if len(document.text) < 3 else document


def _halve(document):
    middle = len(document.text) // 2
    return [replace(document, text=document.text[:middle]), replace(document, text=document.text[middle:])]


def _apply(texts, *stages):
    counts = [StageCounts() for _ in stages]
    kept = [document.text for document in apply_stages(map(Document, texts), stages, counts)]
    return kept, counts


@given(st.lists(st.text("ab é你\n", max_size=8), max_size=20))
def test_what_leaves_a_stage_enters_the_next_and_every_document_is_accounted_for(texts) -> None:
    kept, counts = _apply(texts, _drop_short, _halve, _drop_short)
    first, second, third = counts
    assert first.documents_in == len(texts)
    assert (first.documents_out, first.bytes_out) == (second.documents_in, second.bytes_in)
    assert (second.documents_out, second.bytes_out) == (third.documents_in, third.bytes_in)
    assert third.documents_out == len(kept)
    for judged in (first, third):
        assert judged.documents_in - judged.documents_out == judged.dropped.total()


def test_the_text_of_a_split_document_comes_out_whole_and_in_order() -> None:
    kept, [counts] = _apply(["abcdef"], _halve)
    assert kept == ["abc", "def"]
    assert (counts.changed, counts.documents_out) == (1, 2)


def test_a_document_left_without_text_is_dropped_by_the_stage_that_left_it_so() -> None:
    kept, [counts] = _apply(["some text"], lambda document: replace(document, text=" \n"))
    assert kept == []
    assert counts.dropped == {"emptied": 1}


def test_samples_are_few_and_short() -> None:
    long = lambda _: Dropped("always", "1")  # noqa: E731
    _, [counts] = _apply(["x" * 10_000] * 50, long)
    assert counts.dropped == {"always": 50}
    assert len(counts.samples) == SAMPLES_A_REASON
    assert all(len(sample.text) == SAMPLE_CHARACTERS for sample in counts.samples)
