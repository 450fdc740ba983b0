"""Lists of documents that a stage over all parts dropped: 32-bit numbers, ordered by part."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.records import DropRecord
from deepseek_workloads.store.interface import ByteRange, ObjectStore

Numbers = npt.NDArray[np.uint32]


def put_dropped(
    context: Context,
    store: ObjectStore,
    by_part: Sequence[Numbers],
    *,
    stage: str,
    number: int,
    first_part: int,
) -> DropRecord:
    """`by_part`: document numbers of the parts first_part, first_part + 1, ..."""
    ends = np.cumsum([0, *map(len, by_part)]).tolist()
    content = np.concatenate([np.empty(0, dtype="<u4"), *by_part]).astype("<u4").tobytes()
    return DropRecord(
        number=number,
        dropped=put_file(store, context.key(f"duplicates/{stage}/{number:05d}"), content),
        first_part=first_part,
        part_starts=ends,
    )


def dropped_documents(store: ObjectStore, records: Sequence[DropRecord], *, part: int) -> Numbers:
    """Numbers of the documents of one part that any of the records drops."""
    ranges = []
    for record in records:
        at = part - record.first_part
        if not 0 <= at < len(record.part_starts) - 1:
            continue
        start, end = record.part_starts[at], record.part_starts[at + 1]
        if start < end:
            ranges.append(ByteRange(record.dropped.key, 4 * start, 4 * end))
    return np.frombuffer(b"".join(store.read_ranges(ranges)), dtype="<u4")
