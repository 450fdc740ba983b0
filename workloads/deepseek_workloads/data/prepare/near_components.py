"""Near and semantic duplicates, last substep: of all that are alike, directly or through others, the longest
stays.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import DroppedSample
from deepseek_workloads.data.prepare.context import Context, read_file
from deepseek_workloads.data.prepare.dropped import put_dropped
from deepseek_workloads.data.prepare.near_pairs import PAIR_DTYPE
from deepseek_workloads.data.prepare.part_files import beginning_of
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, PairsRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import SAMPLE_CHARACTERS
from deepseek_workloads.store.interface import ObjectStore

SAMPLES = 5
Numbers = npt.NDArray[np.int64]


def drop_near_duplicates(
    context: Context,
    stage: str,
    reason: str,
    records: Sequence[DocumentsRecord],
    found: Sequence[PairsRecord],
    _task: int,
) -> DropRecord:
    with context.output() as store:
        pairs = np.concatenate(
            [
                np.empty(0, dtype=PAIR_DTYPE),
                *(np.frombuffer(read_file(store, each.pairs), dtype=PAIR_DTYPE) for each in found),
            ]
        )
        dropped, kept = worse_of(pairs)
        starts = np.searchsorted(dropped["part"], np.arange(1, len(records)))
        by_part = np.split(dropped["document"], starts)
        record = put_dropped(context, store, by_part, stage=stage, number=0, first_part=0)
        samples = [
            _sample(store, reason, records, *row)
            for row in zip(dropped[:SAMPLES].tolist(), kept[:SAMPLES].tolist(), strict=True)
        ]
        return put_record(store, context, stage, record.model_copy(update={"samples": samples}))


def worse_of(pairs: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """(dropped, kept in its place) MEMBER_DTYPE rows, ordered by part and document of the dropped one.

    Of each connected component the longest stays, of equally long ones the first.
    """
    both = np.concatenate([pairs["first"], pairs["second"]])
    members, places = np.unique(both, return_inverse=True)  # by part, then document
    first, second = np.split(places.reshape(-1), 2)
    labels = connected_components(len(members), first, second)
    order = np.lexsort((np.arange(len(members)), -members["size"].astype(np.int64), labels))
    best_of_label = np.full(len(members), -1, dtype=np.int64)
    leads = np.r_[True, labels[order][1:] != labels[order][:-1]][: len(order)]
    best_of_label[labels[order][leads]] = order[leads]
    best = best_of_label[labels]
    worse = np.flatnonzero(best != np.arange(len(members)))
    return members[worse], members[best[worse]]


def connected_components(count: int, first: Numbers, second: Numbers) -> Numbers:
    """For each of 0..count-1 the smallest number that it is connected with, itself included.

    In each round every root hooks on the smallest root that it has an edge to, and all paths are shortened: a
    number of rounds that grows with the logarithm of the longest path.
    """
    parent = np.arange(count, dtype=np.int64)
    while True:
        low = np.minimum(parent[first], parent[second])
        high = np.maximum(parent[first], parent[second])
        if np.array_equal(low, high):
            return parent
        np.minimum.at(parent, high, low)
        shorter = parent[parent]
        while not np.array_equal(shorter, parent):
            parent, shorter = shorter, shorter[shorter]


def _sample(
    store: ObjectStore,
    reason: str,
    records: Sequence[DocumentsRecord],
    dropped: tuple[int, int, int],
    kept: tuple[int, int, int],
) -> DroppedSample:
    text, other = (
        beginning_of(store, records[part], document, characters=SAMPLE_CHARACTERS)
        for part, document, _ in (dropped, kept)
    )
    return DroppedSample(reason=reason, detail=f"like: {other}", text=text)
