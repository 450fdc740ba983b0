"""What a teacher is shown: the windows of running text as a run has them, or each conversation by itself.

It does not know the teacher, nor how what it foresees is stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.blocks import TokenReader, Tokens
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.document_borders import document_borders
from deepseek_workloads.data.length_buckets import padded_length
from deepseek_workloads.data.rows import Rows, build_rows
from deepseek_workloads.data.windows import Offsets, PackedWindows
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.train.teacher_logits.parts import Part


@dataclass(frozen=True)
class Shown:
    """The rows of one pass."""

    rows: Rows
    numbers: list[int]  # of the part's texts, a row each


class Texts:
    """Of a plan whose samples are windows of running text, or one conversation each."""

    def __init__(self, plan: SamplePlan, stores: Sequence[ObjectStore]) -> None:
        """`stores`: one for each source of the plan, in its order."""
        self._plan = plan
        self._readers = [
            TokenReader(store, source.space) for store, source in zip(stores, plan.sources, strict=True)
        ]
        self._borders = document_borders(plan, stores, held_out=False)

    def most_positions(self) -> list[npt.NDArray[np.int64]]:
        """Of each source the positions of each of its texts that may count, int64 [texts]."""
        found = []
        for source in self._plan.sources:
            windows = source.windows
            if isinstance(windows, PackedWindows):
                sizes = windows.sizes(np.arange(windows.count)) - 1
            else:
                sizes = np.full(windows.count, windows.sequence_length)
            found.append(np.maximum(sizes, 0))
        return found

    def read(self, part: Part) -> list[Tokens]:
        """Of each text, T+1 tokens at most. Raises the StoreErrors of reading."""
        return self._readers[part.source].read_many(self._bounds(part))

    def passes(self, part: Part, tokens: Sequence[Tokens], *, sequences: int) -> Iterator[Shown]:
        """At most `sequences` rows each; those of conversations are of similar length."""
        windows, length = self._plan.sources[part.source].windows, self._plan.sequence_length
        separate = self._plan.bucketed is not None
        starts = self._document_starts(part)
        order = list(range(len(tokens)))
        if separate:
            order.sort(key=lambda number: len(tokens[number]))
        for at in range(0, len(order), sequences):
            numbers = order[at : at + sequences]
            longest = max(len(tokens[number]) for number in numbers) - 1
            rows = build_rows(
                [tokens[number] for number in numbers],
                [(windows, part.first + number) for number in numbers],
                sequence_length=padded_length(longest, most=length) if separate else length,
                separate=separate,
                document_starts=[starts[number] for number in numbers] if starts else [],
            )
            yield Shown(rows, numbers)

    def _document_starts(self, part: Part) -> list[Offsets]:
        """Of each window of running text, counted from its first token; empty: they are not kept apart."""
        borders, bounds = self._borders[part.source], self._bounds(part)
        if borders is None:
            return []
        origin = bounds[0][0]
        starts = borders.read(origin, bounds[-1][1]) + origin
        return [starts[slice(*np.searchsorted(starts, window))] - window[0] for window in bounds]

    def _bounds(self, part: Part) -> list[tuple[int, int]]:
        windows = self._plan.sources[part.source].windows
        return [windows.bounds(text) for text in range(part.first, part.end)]
