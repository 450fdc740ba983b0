"""Batches of samples of similar length: an order rearranged within stretches of it.

Every stretch, some tens of global batches, is sorted by length and cut into batches, whose order is shuffled:
as samplers that group by length do, and still a pure function of the place. It knows no sources or tokens.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.permutation import mix, permuted_positions

Numbers = npt.NDArray[np.int64]

PADDED_TO: Final = 64  # rows have a multiple of so many tokens: few shapes, whole tiles of kernels
_MOST_BATCHES, _LEAST_BATCHES = 64, 8  # of a stretch
_SAMPLES: Final = 16_384  # of a stretch, where that is within these bounds


def stretch_batches(global_batch_size: int) -> int:
    """Batches of a stretch: enough to choose from, and not so many that all their tokens fill the memory."""
    return max(_LEAST_BATCHES, min(_MOST_BATCHES, _SAMPLES // global_batch_size))


def padded_length(longest: int, *, most: int) -> int:
    """Of the rows of a batch whose longest sample has so many tokens."""
    return min(most, max(1, -(-longest // PADDED_TO)) * PADDED_TO)


def rearranged(lengths: Numbers, epochs_begun: Numbers, *, batch_size: int, key: int) -> Numbers:
    """int64 [n], a permutation: which sample of a stretch comes at each of its places.

    `lengths` [n] of its samples in their order; `epochs_begun` [n], rising: samples change places only where
    it is equal, so that no window of one epoch comes among those of another. `key`: of the stretch.
    """
    changes = np.flatnonzero(np.diff(epochs_begun)) + 1
    bounds = [0, *changes.tolist(), len(lengths)]
    order = np.empty(len(lengths), dtype=np.int64)
    for first, end in pairwise(bounds):
        order[first:end] = first + _grouped(
            lengths[first:end], to_boundary=-first % batch_size, batch_size=batch_size, key=mix(key, first)
        )
    return order


def _grouped(lengths: Numbers, *, to_boundary: int, batch_size: int, key: int) -> Numbers:
    """Whole batches of neighbours by length. What is left, before the first boundary of batches and after the
    last, is the shortest: it shares batches with what is left of other epochs, and little is padded."""
    by_length = np.argsort(lengths, kind="stable")
    head = min(to_boundary, len(lengths))
    whole = (len(lengths) - head) // batch_size
    left, batches = np.split(by_length, [len(lengths) - whole * batch_size])
    shuffled = batches.reshape(whole, batch_size)[permuted_positions(whole, key=key)].ravel()
    return np.concatenate([left[:head], shuffled, left[head:]])
