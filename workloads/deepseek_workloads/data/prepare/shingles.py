"""Hashes of n-grams of words: what near-duplicates and contamination are found by. Pure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from deepseek_workloads.data.prepare.stages.words import comparable_words


def ngrams_of(words: Sequence[str], *, n: int) -> list[str]:
    """In order, repeated ones too; none of fewer words."""
    return [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]


def shingles_of(text: str, *, n: int) -> set[str]:
    """Of a text of at most n words they are the one shingle; of one without words there is none."""
    words = comparable_words(text)
    if len(words) <= n:
        return {" ".join(words)} if words else set()
    return {" ".join(words[at : at + n]) for at in range(len(words) - n + 1)}


def hash_ngrams(ngrams: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest(ngram.encode()) for ngram in ngrams], dtype=np.uint64)
