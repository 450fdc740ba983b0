"""What is compared: lengths, languages, and what the pipeline's rules made of the documents. Pure.

A sample goes through the stages that judge a document alone, since the manifest tells of documents that did.
What stages over all documents dropped is left out on both sides: a sample has no duplicates to find."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from deepseek_workloads.contract.pipeline import Augmentation, GlobalSettings, IdentifyLanguage, PipelineStage
from deepseek_workloads.contract.records import StageReport
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.drift.divergence import Histogram
from deepseek_workloads.data.prepare.lexicons import with_lexicon
from deepseek_workloads.data.prepare.report import PreparationReport
from deepseek_workloads.data.prepare.stages.contract import RecordStage, StageCounts, apply_stages
from deepseek_workloads.data.prepare.stages.registry import record_stage

LENGTH, LANGUAGE, OUTCOME = "length", "language", "outcome"
UNREADABLE, EMPTY, KEPT, UNKNOWN = "unreadable", "empty", "kept", "notKnown"


def judging_stages(context: Context, stages: Sequence[PipelineStage]) -> list[tuple[str, RecordStage]]:
    """(name, function) of those that look at one document. Copies are no new documents."""
    return [
        (stage.name, record_stage(with_lexicon(context, stage.settings)))
        for stage in stages
        if not isinstance(stage.settings, GlobalSettings | Augmentation)
    ]


@dataclass
class Sample:
    """Histograms of a sample, which grow by each document."""

    stages: Sequence[tuple[str, RecordStage]]
    documents: int = 0  # that were looked at
    _lengths: Counter[str] = field(default_factory=Counter)
    _languages: Counter[str] = field(default_factory=Counter)
    _outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, document: Document) -> None:
        self.documents += 1
        if not document.text.strip():
            self._outcomes[EMPTY] += 1
            return
        counts = [StageCounts() for _ in self.stages]
        kept = list(apply_stages([document], [function for _, function in self.stages], counts))
        broken = [name for (name, _), count in zip(self.stages, counts, strict=True) if count.dropped]
        self._outcomes[broken[0] if broken and not kept else KEPT] += 1
        for each in kept:
            self._lengths[_length_bin(len(each.text.encode()))] += 1
            self._languages[each.language or UNKNOWN] += 1

    def add_unreadable(self) -> None:
        self.documents += 1
        self._outcomes[UNREADABLE] += 1

    @property
    def histograms(self) -> dict[str, Histogram]:
        return {LENGTH: self._lengths, LANGUAGE: self._languages, OUTCOME: self._outcomes}


def features_of(run: DatasetRun) -> list[str]:
    """That are compared. Pages have no language of their own, but older reports have that of <html lang>:
    only where a stage identifies it do the dataset and a sample speak of the same."""
    identified = any(isinstance(stage.settings, IdentifyLanguage) for stage in run.pipeline or ())
    pages = any(source.format == "html" for source in run.raw_sources)
    return [LENGTH, OUTCOME] if pages and not identified else [LENGTH, LANGUAGE, OUTCOME]


def expected_histograms(report: PreparationReport, *, stages: Iterable[str]) -> dict[str, Histogram]:
    """The same of the dataset. `stages`: the names of those that the sample goes through."""
    unknown = report.documents - sum(report.languages.values())
    return {
        LENGTH: {str(exponent): count for exponent, count in enumerate(report.lengths) if count},
        LANGUAGE: report.languages | ({UNKNOWN: unknown} if unknown > 0 else {}),
        OUTCOME: _outcomes(report, {each.name: each for each in report.stages}, list(stages)),
    }


def _outcomes(
    report: PreparationReport, reports: dict[str, StageReport], stages: Sequence[str]
) -> dict[str, float]:
    """As if no stage between had dropped any: each stage takes its share of what reaches it."""
    outcomes: dict[str, float] = {UNREADABLE: report.bad_records, EMPTY: report.empty_documents}
    left = float(report.records - report.bad_records - report.empty_documents)
    for name in stages:
        stage = reports.get(name)
        if stage is not None and stage.documents_in:
            outcomes[name] = left * sum(stage.dropped.values()) / stage.documents_in
            left -= outcomes[name]
    return outcomes | {KEPT: left}


def _length_bin(size: int) -> str:
    """As `documents.length_counts` has it: 2^i .. 2^(i+1)-1 bytes."""
    return str(int(np.frexp(float(size))[1]) - 1)
