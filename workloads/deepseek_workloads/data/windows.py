"""Which tokens of a source make one sample: a fixed stride over running text, or whole documents packed.

Pure arithmetic over a `TokenSpace`'s line of tokens. T = sequence_length; a sample reads one token more.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.token_space import count_windows

Offsets = npt.NDArray[np.int64]


class Windows(Protocol):
    """Windows are in the order of their tokens; what follows a window begins at or before its end."""

    @property
    def count(self) -> int: ...

    @property
    def sequence_length(self) -> int: ...

    def bounds(self, window: int) -> tuple[int, int]:
        """Tokens start..end (end excluded) of a window, at most T+1."""
        ...


@dataclass(frozen=True)
class FixedWindows:
    """T+1 tokens at a stride of T, wherever documents begin; what is left over at the end is dropped."""

    tokens: int
    sequence_length: int

    @property
    def count(self) -> int:
        return count_windows(self.tokens, sequence_length=self.sequence_length)

    def bounds(self, window: int) -> tuple[int, int]:
        start = window * self.sequence_length
        return start, start + self.sequence_length + 1


@dataclass(frozen=True)
class PackedWindows:
    """Whole documents, as many in a row as fit; one that alone does not fit is cut at T+1 tokens."""

    document_starts: Offsets  # of all documents, and the end of the last
    first_documents: Offsets  # of each window
    after_documents: Offsets  # of each window the one that it has no more
    sequence_length: int

    @property
    def count(self) -> int:
        return len(self.first_documents)

    def sizes(self, windows: Offsets) -> Offsets:
        """Tokens of each of these windows."""
        first, after = self.first_documents[windows], self.after_documents[windows]
        sizes: Offsets = np.minimum(
            self.document_starts[after] - self.document_starts[first], self.sequence_length + 1
        )
        return sizes

    def bounds(self, window: int) -> tuple[int, int]:
        start = int(self.document_starts[self.first_documents[window]])
        end = int(self.document_starts[self.after_documents[window]])
        return start, min(end, start + self.sequence_length + 1)

    def documents(self, window: int) -> Offsets:
        """[tokens of the window]: 0 for those of its first document, 1 for the next, ..."""
        start, end = self.bounds(window)
        first, after = self.first_documents[window], self.after_documents[window]
        begun = np.zeros(end - start, dtype=np.int64)
        begun[self.document_starts[first + 1 : after] - start] = 1
        return begun.cumsum()

    def without_cut(self) -> "PackedWindows":
        """Those of whole documents: one that is cut is alone in its window."""
        tokens = self.document_starts[self.after_documents] - self.document_starts[self.first_documents]
        whole = tokens <= self.sequence_length + 1
        return replace(
            self,
            first_documents=self.first_documents[whole],
            after_documents=self.after_documents[whole],
        )


def separate(document_starts: Offsets, *, sequence_length: int) -> PackedWindows:
    """A window for each document, as `pack` has them for several."""
    return _between(document_starts, np.arange(len(document_starts)), sequence_length)


def pack(document_starts: Offsets, *, sequence_length: int) -> PackedWindows:
    """`document_starts`: rising, the last entry is the end of the last document. Documents stay in their
    order: the next one opens a window where it does not fit into the one that is open."""
    documents = len(document_starts) - 1
    firsts = [0]
    while firsts[-1] < documents:
        limit = document_starts[firsts[-1]] + sequence_length + 1
        fitting = int(np.searchsorted(document_starts, limit, side="right")) - 1
        firsts.append(max(fitting, firsts[-1] + 1))
    return _between(document_starts, np.array(firsts, dtype=np.int64), sequence_length)


def _between(document_starts: Offsets, firsts: Offsets, sequence_length: int) -> PackedWindows:
    """`firsts`: the first document of each window, and the number of documents."""
    return PackedWindows(document_starts, firsts[:-1], firsts[1:], sequence_length)
