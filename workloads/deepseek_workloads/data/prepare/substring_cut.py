"""Repeated passages, last substep: the documents of one part without the words that were there before."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.pipeline import DeduplicateSubstrings
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter
from deepseek_workloads.data.prepare.part_files import iter_documents, put_documents
from deepseek_workloads.data.prepare.pass_stage import SAMPLED_PARTS, report_of
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, PassRecord, RepeatsRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import (
    SAMPLE_CHARACTERS,
    SAMPLES_A_REASON,
    Dropped,
    Outcome,
    Sample,
    StageCounts,
)
from deepseek_workloads.data.prepare.stages.words import word_starts
from deepseek_workloads.data.prepare.substring_repeats import read_repeats

REASON = "repeatedPassage"

Removed = npt.NDArray[np.bool_]  # of each word of a text


def cut_part(
    context: Context,
    stage: str,
    settings: DeduplicateSubstrings,
    repeats: Sequence[RepeatsRecord],
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> PassRecord:
    counts, writer = StageCounts(), DocumentWriter()
    with context.output() as store:
        rows = read_repeats(store, repeats, part=documents.number)
        bounds = np.searchsorted(rows["document"], np.arange(documents.documents + 1))
        for number, document in iter_documents(store, documents, dropped):
            first = rows["word"][bounds[number] : bounds[number + 1]]
            starts = word_starts(document.text) if len(first) else []
            removed = removed_words(first, words=len(starts), n=settings.min_words)
            for kept in counts.take(document, _without(document, starts, removed)):
                writer.add(kept)
                _add_sample(counts, document.text, starts, removed)
        written = put_documents(context, store, writer, name=stage, number=documents.number)
        report = report_of(stage, counts, sampled=documents.number < SAMPLED_PARTS)
        return put_record(store, context, stage, PassRecord(**dict(written), reports=[report]))


def _without(document: Document, starts: Sequence[int], removed: Removed) -> Outcome:
    text = without_words(document.text, starts, removed)
    return replace(document, text=text) if text.strip() else Dropped(REASON, f"{len(starts)} words")


def removed_words(first: npt.NDArray[np.uint32], *, words: int, n: int) -> Removed:
    """Of a text of so many words, those of the runs of n words that begin at `first`."""
    edges = np.zeros(words + 1, dtype=np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, first + n, -1)
    removed: Removed = np.cumsum(edges[:-1]) > 0
    return removed


def without_words(text: str, starts: Sequence[int], removed: Removed) -> str:
    """Each removed word goes with the white space after it; what stays is as it was."""
    if not removed.any():
        return text
    bounds = [*starts, len(text)]
    kept = [text[bounds[first] : bounds[end]] for gone, first, end in _runs(removed) if not gone]
    head = "" if removed[0] else text[: bounds[0]]
    joined = head + "".join(kept)
    return joined.rstrip() if removed[-1] else joined


def _runs(removed: Removed) -> Iterator[tuple[bool, int, int]]:
    """(removed or not, first word, end) of each run."""
    first = 0
    for gone, words in groupby(removed.tolist()):
        end = first + len(list(words))
        yield gone, first, end
        first = end


def _add_sample(counts: StageCounts, text: str, starts: Sequence[int], removed: Removed) -> None:
    """Of the first passages that went."""
    if len(counts.samples) >= SAMPLES_A_REASON or not removed.any():
        return
    first, end = next((first, end) for gone, first, end in _runs(removed) if gone)
    passage = text[starts[first] : [*starts, len(text)][end]]
    counts.samples.append(Sample(REASON, f"{end - first} words", passage[:SAMPLE_CHARACTERS]))
