"""The report: sums over parts, bars of its histograms, and its page."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deepseek_workloads.contract.records import DroppedSample, StageReport
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter, length_counts
from deepseek_workloads.data.prepare.histogram import draw_histogram
from deepseek_workloads.data.prepare.report import (
    MAX_LANGUAGES,
    PreparationReport,
    language_bars,
    length_bars,
)
from deepseek_workloads.data.prepare.report_page import render_page
from deepseek_workloads.data.prepare.reports import SAMPLES_A_REASON, add_reports

LANGUAGES = st.dictionaries(st.text("abcdefgh", min_size=2, max_size=3), st.integers(1, 100), max_size=40)


@given(LANGUAGES, st.integers(0, 50))
def test_the_bars_of_languages_are_all_documents(languages, unknown) -> None:
    documents = sum(languages.values()) + unknown
    bars = language_bars(languages, documents=documents)
    assert sum(count for _, count in bars) == documents
    assert len(bars) <= MAX_LANGUAGES + 2
    named = [count for _, count in bars[: min(len(languages), MAX_LANGUAGES)]]
    assert named == sorted(named, reverse=True)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_lengths_are_counted_by_powers_of_two(sizes) -> None:
    writer = DocumentWriter()
    for size in sizes:
        writer.add(Document("x" * size))
    counts = length_counts(writer.index, kept=np.ones(len(sizes), dtype=bool))
    assert [sum(2**i <= size < 2 ** (i + 1) for size in sizes) for i in range(len(counts))] == counts
    assert sum(counts) == len(sizes)
    bars = length_bars(counts)
    assert bars[0][1] > 0
    assert sum(count for _, count in bars) == len(sizes)


def test_powers_of_two_are_written_short() -> None:
    assert [label for label, _ in length_bars([0] * 9 + [1] * 4)] == ["512", "1Ki", "2Ki", "4Ki"]


def test_a_histogram_is_an_image_and_the_same_each_time() -> None:
    bars = [("en", 120), ("中文", 3), ("a label that is far too long to stand there", 0)]
    content = draw_histogram("language", bars)
    assert content == draw_histogram("language", bars)
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.width > 400, image.height > 100) == ("PNG", True, True)
    assert draw_histogram("language", []) != content


def test_reports_of_parts_add_up_and_keep_few_samples() -> None:
    sample = DroppedSample(reason="short", detail="3", text="abc")
    part = StageReport(
        name="s",
        documents_in=10,
        documents_out=4,
        bytes_in=100,
        bytes_out=30,
        dropped={"short": 6},
        samples=[sample] * 3,
    )
    total = add_reports([part] * 7)
    assert (total.documents_in, total.documents_out, total.dropped) == (70, 28, {"short": 42})
    assert (total.bytes_in, total.bytes_out) == (700, 210)
    assert len(total.samples) == SAMPLES_A_REASON


def test_nothing_from_a_document_is_markup() -> None:
    markup = "<img src=x onerror=alert(1)>{{ 7 * 7 }}"
    stage = StageReport(
        name="s", dropped={markup: 1}, samples=[DroppedSample(reason=markup, detail=markup, text=markup)]
    )
    report = PreparationReport(records=1, bad_records=0, empty_documents=0, documents=0, stages=[stage])
    page = render_page(report.model_dump(), {}).decode()
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;{{ 7 * 7 }}") == 4
