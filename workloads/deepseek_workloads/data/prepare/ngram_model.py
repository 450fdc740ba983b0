"""A model of characters by n-grams, and the perplexity of a text under it. Pure; it does not know files.

Interpolated Witten-Bell (Witten and Bell 1991): after a context h that was seen c(h) times with T(h)
different characters, P(x|h) = (c(hx) + T(h) P(x|h')) / (c(h) + T(h)), where h' is h without its first
character; at the end all characters that are known, and one for those that are not, are equally likely.
White space is one space.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Order:
    """N-grams of one length, and the contexts that are one character shorter, by sorted hashes."""

    ngrams: Hashes
    counts: Counts
    contexts: Hashes
    totals: Counts  # of each context: how often any character followed
    kinds: Counts  # how many different ones


@dataclass(frozen=True)
class NgramModel:
    orders: tuple[Order, ...]  # of 1, 2, ... characters
    characters: int  # different ones

    def perplexity(self, text: str) -> float:
        """A character; infinite of no text."""
        codes = _codes([text])
        if not len(codes):
            return float("inf")
        probabilities = np.full(len(codes), 1 / (self.characters + 1))
        for length, order in enumerate(self.orders, start=1):
            hashes, before = _hashes(codes, length), _hashes(codes, length - 1)[: len(codes) - length + 1]
            lower = probabilities[length - 1 :]
            seen = _looked_up(order.ngrams, order.counts, hashes)
            totals = _looked_up(order.contexts, order.totals, before)
            kinds = _looked_up(order.contexts, order.kinds, before)
            known = totals > 0
            mixed = (seen + kinds * lower) / np.maximum(totals + kinds, 1)
            probabilities[length - 1 :] = np.where(known, mixed, lower)
        return float(np.exp(-np.log(probabilities).mean()))


def train_ngram_model(texts: Iterable[str], *, order: int) -> NgramModel:
    """`order`: characters of the longest n-grams."""
    codes = _codes(texts)
    orders = tuple(_order(codes, length) for length in range(1, order + 1))
    return NgramModel(orders, characters=len(orders[0].ngrams))


def _codes(texts: Iterable[str]) -> Hashes:
    """One after another, each with a space at its end."""
    whole = "".join(f"{' '.join(text.split())} " for text in texts)
    codes = np.frombuffer(whole.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    return codes[:0] if not whole.strip() else codes


def _hashes(codes: Hashes, length: int) -> Hashes:
    """Of each run of so many characters."""
    hashes = np.zeros(max(0, len(codes) - length + 1), dtype=np.uint64)
    for at in range(length):
        hashes = (hashes ^ (hashes >> _SHIFT)) * _FACTOR + codes[at : at + len(hashes)] + np.uint64(1)
    return hashes


def _order(codes: Hashes, length: int) -> Order:
    ngrams, first, counts = np.unique(_hashes(codes, length), return_index=True, return_counts=True)
    before = _hashes(codes, length - 1)[first]
    contexts, context_of, kinds = np.unique(before, return_inverse=True, return_counts=True)
    totals = np.bincount(context_of, weights=counts, minlength=len(contexts))
    narrow = (values.astype(np.uint32) for values in (counts, totals, kinds))
    of_ngrams, of_contexts, of_kinds = narrow
    return Order(ngrams, of_ngrams, contexts, of_contexts, of_kinds)


def _looked_up(known: Hashes, values: Counts, hashes: Hashes) -> npt.NDArray[np.float64]:
    """0 of what is not known."""
    if not len(known):
        return np.zeros(len(hashes))
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.where(known[at] == hashes, values[at], 0).astype(np.float64)


def pack(model: NgramModel) -> bytes:
    """Sizes, then the arrays."""
    arrays = [array for order in model.orders for array in _arrays(order)]
    sizes = np.array([model.characters, *map(len, arrays)], dtype="<u8")
    head = np.array([len(sizes)], dtype="<u8")
    return b"".join(each.tobytes() for each in (head, sizes, *arrays))


def unpack(content: bytes) -> NgramModel:
    count = int(np.frombuffer(content, dtype="<u8", count=1)[0])
    characters, *sizes = np.frombuffer(content, dtype="<u8", count=count, offset=8).tolist()
    offset = 8 + 8 * count
    orders = []
    for at in range(0, len(sizes), 5):
        arrays = []
        for size, dtype in zip(sizes[at : at + 5], ("<u8", "<u4", "<u8", "<u4", "<u4"), strict=True):
            arrays.append(np.frombuffer(content, dtype=dtype, count=size, offset=offset))
            offset += size * np.dtype(dtype).itemsize
        orders.append(Order(*arrays))
    return NgramModel(tuple(orders), characters)


def _arrays(order: Order) -> Sequence[npt.NDArray[np.generic]]:
    return (order.ngrams, order.counts, order.contexts, order.totals, order.kinds)
