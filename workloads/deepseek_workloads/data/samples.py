"""Samples of the order: where each lies, and what it is called. It does not know how they are ordered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One window of one source. `sample_id` names the content: one number a window, in every epoch."""

    source: int
    epoch: int  # of the source
    window: int
    block: int
    sample_id: int


@dataclass(frozen=True)
class Samples:
    """Samples in their order, a column each: int64 [samples]."""

    source: Numbers
    ordinal: Numbers  # of the source: how many of its samples came before
    epoch: Numbers
    window: Numbers
    block: Numbers
    sample_id: Numbers

    def __len__(self) -> int:
        return len(self.source)

    def part(self, start: int, stop: int) -> "Samples":
        return self.take(slice(start, stop))

    def take(self, places: Numbers | slice) -> "Samples":
        return Samples(
            self.source[places],
            self.ordinal[places],
            self.epoch[places],
            self.window[places],
            self.block[places],
            self.sample_id[places],
        )


def joined(parts: Sequence[Samples]) -> Samples:
    columns = zip(
        *((p.source, p.ordinal, p.epoch, p.window, p.block, p.sample_id) for p in parts), strict=True
    )
    return Samples(*(np.concatenate(column) for column in columns))


def epochs_begun(samples: Samples) -> Numbers:
    """Of samples in turn: how many epochs of any source have begun with one of them, after its first."""
    begun = np.zeros(len(samples), dtype=np.int64)
    for source in np.unique(samples.source).tolist():
        of_source = np.flatnonzero(samples.source == source)
        begun[of_source[1:]] = np.diff(samples.epoch[of_source]) > 0
    return begun.cumsum()
