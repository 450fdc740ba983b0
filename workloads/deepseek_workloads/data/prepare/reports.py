"""Counts of what the stages did, added up over parts. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from deepseek_workloads.contract.pipeline import (
    Decontaminate,
    DeduplicateExact,
    DeduplicateSemantic,
    FilterPerplexity,
    FilterTfIdf,
    PipelineStage,
)
from deepseek_workloads.contract.records import DroppedSample, StageReport
from deepseek_workloads.data.prepare.records import DropRecord

SAMPLES_A_REASON = 5  # of the whole dataset
DUPLICATES: Final = ("duplicate", "nearDuplicate", "semanticDuplicate")  # reasons


def add_reports(reports: Sequence[StageReport]) -> StageReport:
    """Of one stage over its parts; of the samples the first ones, so that the sum has an order."""
    dropped: Counter[str] = sum((Counter(report.dropped) for report in reports), Counter())
    return StageReport(
        name=reports[0].name,
        documents_in=sum(report.documents_in for report in reports),
        documents_out=sum(report.documents_out for report in reports),
        bytes_in=sum(report.bytes_in or 0 for report in reports),
        bytes_out=sum(report.bytes_out or 0 for report in reports),
        changed=sum(report.changed for report in reports),
        refused=sum(report.refused for report in reports),
        dropped=dict(sorted(dropped.items())),
        samples=_first_samples([sample for report in reports for sample in report.samples]),
    )


def global_report(stage: PipelineStage, records: Sequence[DropRecord], *, documents_in: int) -> StageReport:
    """Of a stage over all documents, which drops and changes none."""
    dropped = sum(record.part_starts[-1] for record in records)
    return StageReport(
        name=stage.name,
        documents_in=documents_in,
        documents_out=documents_in - dropped,
        dropped={_reason(stage): dropped} if dropped else {},
        samples=_first_samples([sample for record in records for sample in record.samples]),
    )


def _first_samples(samples: Sequence[DroppedSample]) -> list[DroppedSample]:
    seen: Counter[str] = Counter()
    kept = []
    for sample in samples:
        seen[sample.reason] += 1
        if seen[sample.reason] <= SAMPLES_A_REASON:
            kept.append(sample)
    return kept


def _reason(stage: PipelineStage) -> str:
    match stage.settings:
        case DeduplicateExact():
            return "duplicate"
        case Decontaminate():
            return "contaminated"
        case FilterPerplexity():
            return "perplexity"
        case FilterTfIdf():
            return "meanTfIdf"
        case DeduplicateSemantic():
            return "semanticDuplicate"
        case _:
            return "nearDuplicate"
