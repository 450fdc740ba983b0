"""Repeated passages, first substep: the hash of every run of n words of one part's documents.

A passage of n words or more that two places share gives both of them the same hashes. The hash of a run is a
polynomial of the hashes of its words modulo 2^64, so that all of a text are computed together.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from deepseek_workloads.contract.pipeline import DeduplicateSubstrings
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.documents import BUCKETS
from deepseek_workloads.data.prepare.part_files import iter_documents
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, WindowsRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.words import words_of

WINDOW_DTYPE = np.dtype([("hash", "<u8"), ("document", "<u4"), ("word", "<u4")])  # word: the first one
BASE = 0x9E3779B97F4A7C13  # odd, so that it has an inverse; 3 modulo 8, so that its powers differ early
_INVERSE = pow(BASE, -1, 2**64)

Hashes = npt.NDArray[np.uint64]


def window_part(
    context: Context,
    stage: str,
    settings: DeduplicateSubstrings,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> WindowsRecord:
    known: dict[str, int] = {}
    found = [np.empty(0, dtype=WINDOW_DTYPE)]
    with context.output() as store:
        for number, document in iter_documents(store, documents, dropped):
            hashes = window_hashes(word_hashes(words_of(document.text), known), n=settings.min_words)
            rows = np.empty(len(hashes), dtype=WINDOW_DTYPE)
            rows["hash"], rows["document"], rows["word"] = hashes, number, np.arange(len(hashes))
            found.append(rows)
        windows = np.concatenate(found)
        windows = windows[np.argsort(windows["hash"], kind="stable")]
        starts = np.searchsorted(windows["hash"] >> np.uint64(56), np.arange(BUCKETS + 1, dtype=np.uint64))
        key = context.key(f"duplicates/{stage}/{documents.number:05d}")
        record = WindowsRecord(
            number=documents.number,
            windows=put_file(store, key, windows.tobytes()),
            bucket_starts=starts.tolist(),
        )
        return put_record(store, context, stage, record)


def word_hashes(words: Sequence[str], known: dict[str, int]) -> Hashes:
    """`known` grows: a word is hashed once."""
    for word in words:
        if word not in known:
            known[word] = xxhash.xxh3_64_intdigest(word.encode())
    return np.fromiter((known[word] for word in words), dtype=np.uint64, count=len(words))


def window_hashes(hashes: Hashes, *, n: int) -> Hashes:
    """Of words i..i+n-1, for each i: the sum of hash[i + j] * BASE^j modulo 2^64."""
    if len(hashes) < n:
        return np.empty(0, dtype=np.uint64)
    sums = np.zeros(len(hashes) + 1, dtype=np.uint64)
    np.cumsum(hashes * _powers(BASE, len(hashes)), out=sums[1:])
    windows: Hashes = (sums[n:] - sums[:-n]) * _powers(_INVERSE, len(hashes) - n + 1)
    return windows


def _powers(base: int, length: int) -> Hashes:
    factors = np.full(length, base, dtype=np.uint64)
    factors[:1] = 1
    powers: Hashes = np.cumprod(factors)
    return powers
