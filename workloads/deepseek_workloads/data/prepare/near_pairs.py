"""Near-duplicates, second substep: of one band, over all parts, the pairs that are as similar as asked.

Documents with the same hash are candidates; the Jaccard similarity of their shingles decides.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.pipeline import DeduplicateNear
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.near_signatures import BAND_DTYPE
from deepseek_workloads.data.prepare.records import PairsRecord, SignaturesRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.store.interface import ByteRange, ObjectStore

MEMBER_DTYPE = np.dtype([("part", "<u4"), ("document", "<u4"), ("size", "<u4")])
PAIR_DTYPE = np.dtype([("first", MEMBER_DTYPE), ("second", MEMBER_DTYPE)])
EVERY_PAIR_OF = 32  # members of one hash; of more, each is compared with the first and the one before it
PAIRS_TOGETHER = 8192  # whose shingles are in memory, three times

Members = npt.NDArray[np.void]
Indices = npt.NDArray[np.int64]


def find_pairs(
    context: Context,
    stage: str,
    settings: DeduplicateNear,
    signed: Sequence[SignaturesRecord],
    band: int,
) -> PairsRecord:
    with context.output() as store:
        hashes, members = _read_band(store, signed, band)
        found = [
            np.empty(0, dtype=PAIR_DTYPE),
            *(
                _similar(store, signed, settings, members, first, second)
                for first, second in _batches(candidate_pairs(hashes))
            ),
        ]
        content = np.concatenate(found).tobytes()
        key = context.key(f"duplicates/{stage}/{band:05d}")
        return put_record(
            store, context, stage, PairsRecord(number=band, pairs=put_file(store, key, content))
        )


def candidate_pairs(hashes: npt.NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Pairs of positions with the same hash; `hashes` is sorted."""
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(hashes) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(hashes)])
    groups = zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True)
    pairs = [pair for start, size in groups for pair in _pairs_of_group(start, size)]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return first, second


def _pairs_of_group(start: int, size: int) -> Iterator[tuple[int, int]]:
    members = range(start, start + size)
    if size <= EVERY_PAIR_OF:
        return combinations(members, 2)
    return iter(sorted({*((start, member) for member in members[1:]), *pairwise(members)}))


def _batches(pairs: tuple[Indices, Indices]) -> Iterator[tuple[Indices, Indices]]:
    first, second = pairs
    for at in range(0, len(first), PAIRS_TOGETHER):
        yield first[at : at + PAIRS_TOGETHER], second[at : at + PAIRS_TOGETHER]


def _read_band(
    store: ObjectStore, signed: Sequence[SignaturesRecord], band: int
) -> tuple[npt.NDArray[np.uint64], Members]:
    """Hashes, sorted, and who has them: by hash, part and document."""
    width = BAND_DTYPE.itemsize
    present = [record for record in signed if record.rows]
    ranges = [
        ByteRange(record.bands.key, band * record.rows * width, (band + 1) * record.rows * width)
        for record in present
    ]
    rows = np.frombuffer(b"".join(store.read_ranges(ranges)), dtype=BAND_DTYPE)
    members = np.empty(len(rows), dtype=MEMBER_DTYPE)
    parts = np.array([record.number for record in present], dtype=np.uint32)
    counts = np.array([record.rows for record in present], dtype=np.int64)
    members["part"] = np.repeat(parts, counts)
    members["document"], members["size"] = rows["document"], rows["size"]
    order = np.lexsort((members["document"], members["part"], rows["hash"]))
    return rows["hash"][order], members[order]


def _similar(
    store: ObjectStore,
    signed: Sequence[SignaturesRecord],
    settings: DeduplicateNear,
    members: Members,
    first: Indices,
    second: Indices,
) -> npt.NDArray[np.void]:
    """PAIR_DTYPE rows of the candidates whose similarity is the threshold or more."""
    wanted, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    shingles, lengths = _read_shingles(store, signed, members[wanted])
    left, right = np.split(places, 2)
    holds = jaccard(shingles, lengths, left, right) >= settings.threshold
    pairs = np.empty(int(holds.sum()), dtype=PAIR_DTYPE)
    pairs["first"], pairs["second"] = members[first[holds]], members[second[holds]]
    return pairs


def jaccard(
    values: npt.NDArray[np.uint32], lengths: Indices, left: Indices, right: Indices
) -> npt.NDArray[np.float64]:
    """Of the sets left[i] and right[i], for each i. `values`: the sets one after another, each without
    repetitions; `lengths`: of each set, at least 1."""
    keys = np.concatenate([_keyed(values, lengths, left), _keyed(values, lengths, right)])
    keys.sort()
    twice = keys[1:][keys[1:] == keys[:-1]]
    shared = np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(left))
    return shared / (lengths[left] + lengths[right] - shared)


def _keyed(values: npt.NDArray[np.uint32], lengths: Indices, chosen: Indices) -> npt.NDArray[np.uint64]:
    """The values of the chosen sets, each below the number of its choice."""
    counts = lengths[chosen]
    begin = (np.cumsum(lengths) - lengths)[chosen]  # in `values`
    at = np.cumsum(counts) - counts  # in the result
    indices = np.arange(int(counts.sum())) + np.repeat(begin - at, counts)
    number = np.repeat(np.arange(len(chosen), dtype=np.uint64), counts)
    keyed: npt.NDArray[np.uint64] = (number << np.uint64(32)) | values[indices].astype(np.uint64)
    return keyed


def _read_shingles(
    store: ObjectStore, signed: Sequence[SignaturesRecord], members: Members
) -> tuple[npt.NDArray[np.uint32], Indices]:
    """The sets of the members one after another, and the length of each."""
    records = {record.number: record for record in signed}
    places = list(zip(members["part"].tolist(), members["document"].tolist(), strict=True))
    bounds = store.read_ranges(
        [ByteRange(records[part].starts.key, 8 * document, 8 * document + 16) for part, document in places]
    )
    starts = np.frombuffer(b"".join(bounds), dtype="<u8").astype(np.int64).reshape(-1, 2)
    contents = store.read_ranges(
        [
            ByteRange(records[part].shingles.key, 4 * start, 4 * end)
            for (part, _), (start, end) in zip(places, starts.tolist(), strict=True)
        ]
    )
    return np.frombuffer(b"".join(contents), dtype="<u4"), starts[:, 1] - starts[:, 0]
