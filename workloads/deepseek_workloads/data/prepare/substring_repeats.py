"""Repeated passages, second substep: over all parts, the runs of words that occurred before.

The first occurrence in the order of parts, documents and words stays. Each task has a range of hashes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.deduplicate_stage import HashRange
from deepseek_workloads.data.prepare.documents import BUCKETS
from deepseek_workloads.data.prepare.records import RepeatsRecord, WindowsRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.substring_windows import WINDOW_DTYPE
from deepseek_workloads.store.interface import ByteRange, ObjectStore

REPEAT_DTYPE = np.dtype([("document", "<u4"), ("word", "<u4")])
WINDOWS_A_TASK = 32 * 1024 * 1024

Rows = npt.NDArray[np.void]


def plan_window_ranges(records: Sequence[WindowsRecord]) -> list[HashRange]:
    windows = sum(record.bucket_starts[-1] for record in records)
    count = min(max(1, -(-windows // WINDOWS_A_TASK)), BUCKETS)
    bounds = [number * BUCKETS // count for number in range(count + 1)]
    return [HashRange(number, bounds[number], bounds[number + 1]) for number in range(count)]


def repeats_of_range(
    context: Context, stage: str, records: Sequence[WindowsRecord], task: HashRange
) -> RepeatsRecord:
    with context.output() as store:
        repeats, starts = find_repeats([_read_windows(store, record, task) for record in records])
        key = context.key(f"duplicates/{stage}/{task.number:05d}")
        file = put_file(store, key, repeats.tobytes())
        record = RepeatsRecord(number=task.number, repeats=file, part_starts=starts)
        return put_record(store, context, stage, record)


def find_repeats(parts: Sequence[Rows]) -> tuple[Rows, list[int]]:
    """`parts`: WINDOW_DTYPE rows of each part. Returns REPEAT_DTYPE rows ordered by part, document and word,
    and the row where each part's begin, and the end."""
    rows = np.concatenate([np.empty(0, dtype=WINDOW_DTYPE), *parts])
    part = np.repeat(np.arange(len(parts)), [len(windows) for windows in parts])
    order = np.lexsort((rows["word"], rows["document"], part, rows["hash"]))
    again = np.zeros(len(rows), dtype=bool)
    again[1:] = rows["hash"][order[1:]] == rows["hash"][order[:-1]]
    repeated = order[again]
    repeated = repeated[np.lexsort((rows["word"][repeated], rows["document"][repeated], part[repeated]))]
    found = np.empty(len(repeated), dtype=REPEAT_DTYPE)
    found["document"], found["word"] = rows["document"][repeated], rows["word"][repeated]
    return found, np.searchsorted(part[repeated], np.arange(len(parts) + 1)).tolist()


def read_repeats(store: ObjectStore, records: Sequence[RepeatsRecord], *, part: int) -> Rows:
    """REPEAT_DTYPE rows of one part, by document; words in any order."""
    width = REPEAT_DTYPE.itemsize
    ranges = []
    for record in records:
        start, end = record.part_starts[part], record.part_starts[part + 1]
        if start < end:
            ranges.append(ByteRange(record.repeats.key, start * width, end * width))
    rows = np.frombuffer(b"".join(store.read_ranges(ranges)), dtype=REPEAT_DTYPE)
    return rows[np.argsort(rows["document"], kind="stable")]


def _read_windows(store: ObjectStore, record: WindowsRecord, task: HashRange) -> Rows:
    width = WINDOW_DTYPE.itemsize
    start, end = record.bucket_starts[task.first], record.bucket_starts[task.end]
    if start == end:
        return np.empty(0, dtype=WINDOW_DTYPE)
    [content] = store.read_ranges([ByteRange(record.windows.key, start * width, end * width)])
    return np.frombuffer(content, dtype=WINDOW_DTYPE)
