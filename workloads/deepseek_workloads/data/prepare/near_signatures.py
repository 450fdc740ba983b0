"""Near-duplicates, first substep: the shingles of one part's documents, and the bands of their MinHash.

Two documents of Jaccard similarity s agree in each number of their signatures with probability s, and in all
`rows` numbers of at least one of `count` bands with probability 1 - (1 - s^rows)^count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from rensa import RMinHash

from deepseek_workloads.contract.pipeline import DeduplicateNear
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.part_files import iter_documents
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, SignaturesRecord
from deepseek_workloads.data.prepare.shingles import hash_ngrams, shingles_of
from deepseek_workloads.data.prepare.stage import put_record

# size: characters of the document, at most 2^32 - 1
BAND_DTYPE = np.dtype([("hash", "<u8"), ("document", "<u4"), ("size", "<u4")])
RECALL_AT_THRESHOLD = 0.98
SEED = 1

Signatures = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Bands:
    count: int
    rows: int  # numbers of a signature in each


def plan_bands(settings: DeduplicateNear) -> Bands:
    """The widest bands, and so the fewest candidates, that still find RECALL_AT_THRESHOLD of the pairs whose
    similarity is the threshold."""
    for rows in range(settings.permutations, 1, -1):
        count = settings.permutations // rows
        if 1 - (1 - settings.threshold**rows) ** count >= RECALL_AT_THRESHOLD:
            return Bands(count, rows)
    return Bands(settings.permutations, 1)


def sign_part(
    context: Context,
    stage: str,
    settings: DeduplicateNear,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> SignaturesRecord:
    numbers: list[int] = []
    sizes: list[int] = []
    signatures: list[Signatures] = []
    shingles = [np.empty(0, dtype=np.uint32)] * documents.documents
    with context.output() as store:
        for number, document in iter_documents(store, documents, dropped):
            of_document = shingles_of(document.text, n=settings.ngram)
            if of_document:  # a document without any word is like no other
                shingles[number] = shingle_set(of_document)
                signatures.append(signature_of(of_document, permutations=settings.permutations))
                numbers.append(number)
                sizes.append(min(len(document.text), 2**32 - 1))
        rows = np.array(signatures, dtype=np.uint32).reshape(len(numbers), settings.permutations)
        bands = band_rows(rows, numbers, sizes, bands=plan_bands(settings))
        starts = np.cumsum([0, *map(len, shingles)]).astype("<u8")
        key = context.key(f"duplicates/{stage}/{documents.number:05d}")
        content = np.concatenate([np.empty(0, dtype=np.uint32), *shingles]).astype("<u4").tobytes()
        record = SignaturesRecord(
            number=documents.number,
            shingles=put_file(store, f"{key}.shingles", content),
            starts=put_file(store, f"{key}.starts", starts.tobytes()),
            bands=put_file(store, f"{key}.bands", bands.tobytes()),
            rows=len(numbers),
        )
        return put_record(store, context, stage, record)


def shingle_set(shingles: set[str]) -> npt.NDArray[np.uint32]:
    """Sorted hashes, each once. 32 bits: of a document's some thousand shingles two rarely have the same."""
    return np.unique(hash_ngrams(sorted(shingles)).astype(np.uint32))


def signature_of(shingles: set[str], *, permutations: int) -> Signatures:
    minhash = RMinHash(num_perm=permutations, seed=SEED)
    minhash.update(sorted(shingles))
    return np.array(minhash.digest(), dtype=np.uint32)


def band_rows(
    signatures: Signatures, numbers: Sequence[int], sizes: Sequence[int], *, bands: Bands
) -> npt.NDArray[np.void]:
    """BAND_DTYPE [bands, documents]; `signatures`: a row for each of `numbers`."""
    result = np.empty((bands.count, len(numbers)), dtype=BAND_DTYPE)
    for band in range(bands.count):
        part = np.ascontiguousarray(signatures[:, band * bands.rows : (band + 1) * bands.rows])
        rows = result[band]
        rows["hash"] = np.array([xxhash.xxh3_64_intdigest(row.tobytes()) for row in part], dtype=np.uint64)
        rows["document"], rows["size"] = numbers, sizes
        result[band] = rows[np.lexsort((rows["document"], rows["hash"]))]
    return result
