"""In how many documents each word is, over all parts: first counted a part, then summed by ranges of words.

Words are counted by a hash of 22 bits: words that share one seem a little more frequent than they are, and
the table has a size that no corpus makes larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.part_files import iter_documents
from deepseek_workloads.data.prepare.records import (
    DocumentsRecord,
    DropRecord,
    FrequenciesRecord,
    TotalsRecord,
)
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.words import comparable_words
from deepseek_workloads.store.interface import ByteRange

BUCKETS = 2**22  # of words
RANGES = 64  # of buckets: as many tasks at most
PARTS_A_TASK = 64  # about, of the tasks that sum
FREQUENCY_DTYPE = np.dtype([("bucket", "<u4"), ("documents", "<u4")])

Counts = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class BucketRange:
    """One task: ranges first..end of the buckets."""

    number: int
    first: int
    end: int


def plan_totals(parts: int) -> list[BucketRange]:
    count = min(RANGES, max(1, -(-parts // PARTS_A_TASK)))
    bounds = [number * RANGES // count for number in range(count + 1)]
    return [BucketRange(number, bounds[number], bounds[number + 1]) for number in range(count)]


class WordBuckets:
    """The bucket of each word; a word is hashed once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, text: str) -> npt.NDArray[np.int64]:
        """Of each word of the text, in order."""
        known, words = self._known, comparable_words(text)
        for word in words:
            if word not in known:
                known[word] = xxhash.xxh3_64_intdigest(word.encode()) % BUCKETS
        return np.fromiter((known[word] for word in words), dtype=np.int64, count=len(words))


def count_part(
    context: Context, stage: str, dropped: Sequence[DropRecord], documents: DocumentsRecord
) -> FrequenciesRecord:
    counts = np.zeros(BUCKETS, dtype=np.uint32)
    buckets, counted = WordBuckets(), 0
    with context.output() as store:
        for _, document in iter_documents(store, documents, dropped):
            counts[np.unique(buckets.of(document.text))] += 1
            counted += 1
        rows = sparse(counts)
        starts = np.searchsorted(rows["bucket"], np.arange(RANGES + 1) * (BUCKETS // RANGES))
        key = context.key(f"duplicates/{stage}/{documents.number:05d}")
        record = FrequenciesRecord(
            number=documents.number,
            frequencies=put_file(store, key, rows.tobytes()),
            range_starts=starts.tolist(),
            documents=counted,
        )
        return put_record(store, context, stage, record)


def sparse(counts: Counts) -> npt.NDArray[np.void]:
    """FREQUENCY_DTYPE rows of the buckets that occur, in order."""
    present = np.flatnonzero(counts)
    rows = np.empty(len(present), dtype=FREQUENCY_DTYPE)
    rows["bucket"], rows["documents"] = present, counts[present]
    return rows


def total_range(
    context: Context, stage: str, counted: Sequence[FrequenciesRecord], task: BucketRange
) -> TotalsRecord:
    width, size = FREQUENCY_DTYPE.itemsize, BUCKETS // RANGES
    totals = np.zeros((task.end - task.first) * size, dtype=np.uint32)
    with context.output() as store:
        for record in counted:
            start, end = record.range_starts[task.first], record.range_starts[task.end]
            if start == end:
                continue
            wanted = ByteRange(record.frequencies.key, start * width, end * width)
            rows = np.frombuffer(store.read_ranges([wanted])[0], dtype=FREQUENCY_DTYPE)
            totals[rows["bucket"] - task.first * size] += rows["documents"]
        key = context.key(f"duplicates/{stage}/{task.number:05d}")
        totals_file = put_file(store, key, totals.astype("<u4").tobytes())
        return put_record(store, context, stage, TotalsRecord(number=task.number, totals=totals_file))


def read_totals(context: Context, records: Sequence[TotalsRecord]) -> Counts:
    """uint32 [BUCKETS]. Raises ObjectChanged."""
    with context.output() as store:
        return np.frombuffer(b"".join(read_file(store, each.totals) for each in records), dtype="<u4")
