"""Which texts are computed and written together, and by whom. Pure.

A part depends on the texts only, not on how many processes share them: another number of processes goes on
with what was begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Part:
    """Texts first..end (end excluded) of one source."""

    number: int  # among all parts
    source: int
    first: int
    end: int


def plan_parts(sizes: Sequence[npt.NDArray[np.int64]], *, most: int) -> list[Part]:
    """`sizes`: of each source the most positions that each of its texts has, int64 [texts]. A part has at
    most `most` of them, or one text."""
    parts: list[Part] = []
    for source, of_source in enumerate(sizes):
        ends, first = of_source.cumsum(), 0
        while first < len(ends):
            before = int(ends[first - 1]) if first else 0
            end = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
            parts.append(Part(len(parts), source, first, end))
            first = end
    return parts


def share_of(parts: Sequence[Part], *, rank: int, world_size: int) -> list[Part]:
    """Those of one process: every part is of exactly one."""
    return [part for part in parts if part.number % world_size == rank]
