"""What is looked for of evaluation sets, and whether a text holds it. Pure.

An item of n words or more is looked for by its n-grams, a shorter one as a whole, from word to word or, in
scripts without spaces, from character to character. What is shorter still would be found everywhere; of
characters, which say less than words do, it takes more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.prepare.shingles import hash_ngrams, ngrams_of
from deepseek_workloads.data.prepare.stages.words import comparable_words, is_spaceless

SHORTEST_ITEM_WORDS = 6  # "What is the capital of France?"
SHORTEST_ITEM_CHARACTERS = 10  # of a script without spaces: two to four words make six characters
Hashes = npt.NDArray[np.uint64]


@dataclass
class ItemHashes:
    """Of evaluation sets, as they are read."""

    n: int
    ngrams: list[Hashes] = field(default_factory=list)
    whole: list[Hashes] = field(default_factory=list)  # of items of fewer words
    beginnings: list[Hashes] = field(default_factory=list)  # the first words of these
    lengths: set[int] = field(default_factory=set)  # of these, in words
    items: int = 0
    matched_whole: int = 0
    too_short: int = 0

    def add(self, texts: Sequence[str]) -> None:
        """One item: all its fields together, and the longest, which is the question rather than the answer,
        also alone."""
        every = [comparable_words(text) for text in texts]
        joined, longest = [word for words in every for word in words], max(every, key=len)
        whole = [words for words in (longest, joined) if shortest_whole(words) <= len(words) < self.n]
        self.items += 1
        if len(joined) >= self.n:
            self.ngrams.append(hash_ngrams(ngrams_of(joined, n=self.n)))
        elif whole:
            self.matched_whole += 1
        else:
            self.too_short += 1
        for words in whole:
            self.whole.append(hash_ngrams([" ".join(words)]))
            self.beginnings.append(hash_ngrams([" ".join(words[: beginning_words(self.n)])]))
            self.lengths.add(len(words))


@dataclass(frozen=True)
class KnownItems:
    """All hashes are sorted."""

    n: int
    ngrams: Hashes
    whole: Hashes
    beginnings: Hashes
    lengths: Sequence[int]

    def first_in(self, text: str) -> str | None:
        """What the text shares with an item; None: nothing."""
        words = comparable_words(text)
        ngrams = ngrams_of(words, n=self.n)
        shared = known_among(hash_ngrams(ngrams), self.ngrams)
        return ngrams[int(shared[0])] if len(shared) else self._whole_in(words)

    def _whole_in(self, words: Sequence[str]) -> str | None:
        if not len(self.whole):
            return None
        starts = known_among(hash_ngrams(ngrams_of(words, n=beginning_words(self.n))), self.beginnings)
        for start in starts.tolist():
            candidates = [" ".join(words[start : start + length]) for length in self.lengths]
            found = known_among(hash_ngrams(candidates), self.whole)
            if len(found):
                return candidates[int(found[0])]
        return None


def shortest_whole(words: Sequence[str]) -> int:
    """The least words of an item like this one that is looked for as a whole."""
    characters = sum(map(is_spaceless, words))
    return SHORTEST_ITEM_CHARACTERS if 2 * characters > len(words) else SHORTEST_ITEM_WORDS


def beginning_words(n: int) -> int:
    """By how many of its first words an item is found: each has as many."""
    return min(n, SHORTEST_ITEM_WORDS)


def sorted_hashes(parts: Iterable[Hashes]) -> Hashes:
    """Each once, little-endian."""
    return np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *parts])).astype("<u8")


def known_among(hashes: Hashes, known: Hashes) -> npt.NDArray[np.intp]:
    """Positions of those that are in `known`, which is sorted and may have millions."""
    if not len(known):
        return np.empty(0, dtype=np.intp)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.flatnonzero(known[at] == hashes)
