"""The report of a preparation: what each stage did, how long the documents are and in which languages.

report.json is for programs; report.html and two PNG files show the same. All are functions of the records
alone, so that a restart writes the same bytes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from pydantic import Field

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import DatasetReport, StageReport
from deepseek_workloads.contract.wire import TolerantWireModel
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.histogram import draw_histogram
from deepseek_workloads.data.prepare.records import ReadRecord, TokenizeRecord
from deepseek_workloads.data.prepare.report_page import render_page
from deepseek_workloads.store.interface import ObjectStore

MAX_LANGUAGES = 24  # that a histogram shows; the rest is one bar


class PreparationReport(TolerantWireModel):
    records: int  # that were read
    bad_records: int
    empty_documents: int
    documents: int  # of the dataset
    stages: list[StageReport]
    languages: dict[str, int] = Field(default_factory=dict)  # documents of the dataset
    lengths: list[int] = Field(default_factory=list)  # documents of 2^i .. 2^(i+1)-1 bytes, by i
    difficulties: list[int] = Field(default_factory=list)  # documents by equal ranges from 0 to 1
    augmented_documents: int = 0  # copies that a stage made


def build_report(
    *, read: Sequence[ReadRecord], reports: Sequence[StageReport], tokenized: Sequence[TokenizeRecord]
) -> PreparationReport:
    languages: Counter[str] = Counter()
    for record in tokenized:
        languages.update(record.languages)
    bad = sum(record.bad_records for record in read) + sum(record.refused for record in tokenized)
    empty = sum(record.empty for record in read)
    return PreparationReport(
        records=sum(record.documents for record in read) + empty + bad,
        bad_records=bad,
        empty_documents=empty,
        documents=sum(
            record.train_statistics.documents + record.held_out_statistics.documents for record in tokenized
        ),
        stages=list(reports),
        languages=dict(sorted(languages.items())),
        lengths=_added([each.lengths for each in tokenized]),
        difficulties=_added([each.difficulties for each in tokenized]),
        augmented_documents=sum(record.augmented for record in tokenized),
    )


def put_report(
    context: Context,
    store: ObjectStore,
    *,
    read: Sequence[ReadRecord],
    reports: Sequence[StageReport],
    tokenized: Sequence[TokenizeRecord],
) -> DatasetReport:
    report = build_report(read=read, reports=reports, tokenized=tokenized)
    document, images = report.to_json(), _histograms(report)
    contents = {
        "report.json": document,
        "report.html": render_page(report.model_dump(), images),
        **{f"{name}.png": image for name, image in images.items()},
    }
    files = [put_file(store, context.key(f"report/{name}"), each) for name, each in contents.items()]
    return DatasetReport(digest=sha256_digest(document), files=files)


def _histograms(report: PreparationReport) -> dict[str, bytes]:
    """PNG files by what they show."""
    bars = {
        "lengths": ("bytes of a document", length_bars(report.lengths)),
        "languages": ("language", language_bars(report.languages, documents=report.documents)),
    }
    if report.difficulties:
        bars["difficulty"] = ("difficulty", difficulty_bars(report.difficulties))
    return {name: draw_histogram(title, each) for name, (title, each) in bars.items()}


def _added(lists: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip_longest(*lists, fillvalue=0)]


def difficulty_bars(counts: Sequence[int]) -> list[tuple[str, int]]:
    return [(f"{at / len(counts):.2f}", count) for at, count in enumerate(counts)]


def length_bars(lengths: Sequence[int]) -> list[tuple[str, int]]:
    """From the shortest length that occurs on."""
    bars = [(_power_of_two(exponent), count) for exponent, count in enumerate(lengths)]
    first = next((at for at, (_, count) in enumerate(bars) if count), len(bars))
    return bars[first:]


def language_bars(languages: dict[str, int], *, documents: int) -> list[tuple[str, int]]:
    """The most frequent first; the last bars are all others, and those not known."""
    ordered = sorted(languages.items(), key=lambda item: (-item[1], item[0]))
    others = sum(count for _, count in ordered[MAX_LANGUAGES:])
    unknown = documents - sum(languages.values())
    rest = [("others", others), ("not known", unknown)]
    return ordered[:MAX_LANGUAGES] + [(name, count) for name, count in rest if count > 0]


def _power_of_two(exponent: int) -> str:
    for unit in ("", "Ki", "Mi", "Gi"):
        if exponent < 10:
            return f"{2**exponent}{unit}"
        exponent -= 10
    return f"{2**exponent}Ti"
