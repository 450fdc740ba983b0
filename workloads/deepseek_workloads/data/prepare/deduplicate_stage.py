"""The stage deduplicateExact: over all parts, which documents repeat the text of an earlier one.

Exact, by 128-bit hash. The first document in the order of parts stays. Each task has a range of hashes, so
that no task needs all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.data.prepare.context import Context, read_file
from deepseek_workloads.data.prepare.documents import BUCKETS, HASH_DTYPE
from deepseek_workloads.data.prepare.dropped import dropped_documents, put_dropped
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.store.interface import ByteRange, ObjectStore

DOCUMENTS_A_TASK = 4_000_000


@dataclass(frozen=True)
class HashRange:
    """One task: the hashes of buckets first..end of every part."""

    number: int
    first: int
    end: int


def plan_ranges(records: Sequence[DocumentsRecord]) -> list[HashRange]:
    documents = sum(record.documents for record in records)
    count = min(max(1, -(-documents // DOCUMENTS_A_TASK)), BUCKETS)
    bounds = [number * BUCKETS // count for number in range(count + 1)]
    return [HashRange(number, bounds[number], bounds[number + 1]) for number in range(count)]


def deduplicate_range(
    context: Context,
    stage: str,
    records: Sequence[DocumentsRecord],
    dropped: Sequence[DropRecord],
    task: HashRange,
) -> DropRecord:
    """`dropped`: by earlier stages; of these none is the one that stays."""
    with context.output() as store:
        parts = [_left(store, _read_hashes(store, record, task), record, dropped) for record in records]
        found, starts = find_duplicates(parts)
        by_part = np.split(found, starts[1:-1])
        record = put_dropped(context, store, by_part, stage=stage, number=task.number, first_part=0)
        return put_record(store, context, stage, record)


def _left(
    store: ObjectStore,
    hashes: npt.NDArray[np.void],
    record: DocumentsRecord,
    dropped: Sequence[DropRecord],
) -> npt.NDArray[np.void]:
    gone = dropped_documents(store, dropped, part=record.number)
    return hashes[~np.isin(hashes["document"], gone)] if len(gone) else hashes


def find_duplicates(parts: Sequence[npt.NDArray[np.void]]) -> tuple[npt.NDArray[np.uint32], list[int]]:
    """`parts`: HASH_DTYPE rows of each part. Returns the numbers of the documents to drop, ordered by part
    and number, and the row where each part's begin, and the end."""
    rows = np.concatenate(parts) if parts else np.empty(0, dtype=HASH_DTYPE)
    part = np.repeat(np.arange(len(parts)), [len(hashes) for hashes in parts])
    order = np.lexsort((rows["document"], part, rows["low"], rows["high"]))
    same = np.zeros(len(rows), dtype=bool)
    first, second = rows[order[:-1]], rows[order[1:]]
    same[1:] = (first["high"] == second["high"]) & (first["low"] == second["low"])
    repeated = order[same]
    repeated = repeated[np.lexsort((rows["document"][repeated], part[repeated]))]
    starts = np.searchsorted(part[repeated], np.arange(len(parts) + 1))
    return rows["document"][repeated].astype("<u4"), starts.tolist()


def _read_hashes(store: ObjectStore, record: DocumentsRecord, task: HashRange) -> npt.NDArray[np.void]:
    start, end = record.bucket_starts[task.first], record.bucket_starts[task.end]
    if (task.first, task.end) == (0, BUCKETS):
        return np.frombuffer(read_file(store, record.hashes), dtype=HASH_DTYPE)
    return np.frombuffer(_read_rows(store, record.hashes, start, end), dtype=HASH_DTYPE)


def _read_rows(store: ObjectStore, file: FileEntry, start: int, end: int) -> bytes:
    if start == end:
        return b""
    width = HASH_DTYPE.itemsize
    return store.read_ranges([ByteRange(file.key, start * width, end * width)])[0]
