"""Documents between the stages: decoded, normalised, hashed, in three files a part. Pure; no I/O."""

import hashlib
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

# high, low: hash; size: bytes of text; language: its number (0: not known); difficulty: NaN where not known;
# split: the low half of the hash of the text that this is a copy of, or its own.
INDEX_DTYPE = np.dtype(
    [
        *(("high", "<u8"), ("low", "<u8"), ("size", "<u8")),
        *(("language", "<u2"), ("difficulty", "<f4"), ("split", "<u8")),
    ]
)
HASH_DTYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("document", "<u4")])
DIFFICULTY_BINS = 20
BUCKETS = 256  # by the hash's first byte

Index = npt.NDArray[np.void]
Normalization = Literal["none", "nfc", "nfkc"]


@dataclass(frozen=True)
class Document:
    text: str
    language: str = ""  # as the record names it
    difficulty: float | None = None  # from 0 to 1
    made_from: int | None = None  # of an augmented copy: the low half of its original's hash
    copies: tuple[str, ...] = ()  # texts of augmented copies that were made while it was read


def normalize(text: str, form: Normalization) -> str:
    if form == "none":
        return text
    return unicodedata.normalize("NFC" if form == "nfc" else "NFKC", text)


def content_hash(content: bytes) -> tuple[int, int]:
    """128 bits of BLAKE2b: nobody can make another's document look like a duplicate."""
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def is_held_out(split: npt.NDArray[np.uint64], *, fraction: float) -> npt.NDArray[np.bool_]:
    """By the hash of the text alone: the same text is on the same side in every dataset of one fraction, and
    a copy on the side of its original."""
    return split < np.uint64(int(fraction * 2.0**64))


class DocumentWriter:
    """Collects the documents of one part."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._rows: list[tuple[int, int, int, int, float, int]] = []
        self.languages: list[str] = []
        self.size = 0  # bytes of text

    def add(self, document: Document) -> None:
        content = document.text.encode()
        high, low = content_hash(content)
        self._texts.append(content)
        self.size += len(content)
        difficulty = math.nan if document.difficulty is None else document.difficulty
        split = low if document.made_from is None else document.made_from
        language = self._language_number(document.language)
        self._rows.append((high, low, len(content), language, difficulty, split))

    @property
    def index(self) -> Index:
        return np.array(self._rows, dtype=INDEX_DTYPE)

    @property
    def texts(self) -> bytes:
        return b"".join(self._texts)

    def _language_number(self, language: str) -> int:
        if not language:
            return 0
        if language not in self.languages:
            if len(self.languages) == np.iinfo(np.uint16).max:
                return 0
            self.languages.append(language)
        return self.languages.index(language) + 1


def sorted_hashes(index: Index) -> tuple[Index, list[int]]:
    """Rows of HASH_DTYPE sorted by hash, and the row where each of the 256 buckets begins, and the end."""
    hashes = np.empty(len(index), dtype=HASH_DTYPE)
    hashes["high"], hashes["low"] = index["high"], index["low"]
    hashes["document"] = np.arange(len(index), dtype=np.uint32)
    hashes = hashes[np.lexsort((hashes["document"], hashes["low"], hashes["high"]))]
    buckets = hashes["high"] >> np.uint64(56)
    starts = np.searchsorted(buckets, np.arange(BUCKETS + 1, dtype=np.uint64))
    return hashes, starts.tolist()


def iter_texts(texts: bytes, index: Index, *, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, str]]:
    """(document number, text) of the documents that are wanted."""
    ends = np.cumsum(index["size"], dtype=np.int64)
    view = memoryview(texts)
    for number in np.flatnonzero(wanted).tolist():
        end = int(ends[number])
        yield number, str(view[end - int(index["size"][number]) : end], "utf-8")


def language_counts(index: Index, languages: Sequence[str], *, kept: npt.NDArray[np.bool_]) -> dict[str, int]:
    counts = np.bincount(index["language"][kept], minlength=len(languages) + 1).tolist()
    return {name: count for name, count in zip(languages, counts[1:], strict=True) if count}


def augmented(index: Index) -> npt.NDArray[np.bool_]:
    """Which documents are copies that a stage made."""
    copies: npt.NDArray[np.bool_] = index["split"] != index["low"]
    return copies


def difficulty_counts(index: Index, *, kept: npt.NDArray[np.bool_]) -> list[int]:
    """Number of documents by DIFFICULTY_BINS equal ranges of difficulty; none where it is not known."""
    known = index["difficulty"][kept & ~np.isnan(index["difficulty"])]
    counts, _ = np.histogram(known, bins=DIFFICULTY_BINS, range=(0, 1))
    return counts.tolist() if len(known) else []


def length_counts(index: Index, *, kept: npt.NDArray[np.bool_]) -> list[int]:
    """Number of documents of 2^i .. 2^(i+1)-1 bytes, by i."""
    sizes = index["size"][kept]
    exponents = np.frexp(sizes[sizes > 0].astype(np.float64))[1] - 1
    return np.bincount(exponents).tolist() if len(exponents) else []
