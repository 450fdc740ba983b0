"""The bit of a token id that says whether it is to be predicted: one stream of tokens carries both.

Shards that have it are uint32 and say so (`Shard.loss_mask`); a vocabulary is far below 2**31.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.unsignedinteger[Any]]
_PREDICTED = np.uint32(1 << 31)


def with_mask(ids: npt.NDArray[np.uint32], predicted: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    return ids | (predicted.astype(np.uint32) * _PREDICTED)


def ids_of(tokens: Tokens) -> Tokens:
    """Without the mark; of tokens of any width, which stays."""
    return tokens & ~_PREDICTED if tokens.dtype.itemsize == _PREDICTED.itemsize else tokens


def predicted_of(tokens: Tokens) -> npt.NDArray[np.bool_]:
    marked: npt.NDArray[np.bool_] = (tokens & _PREDICTED) != 0
    return marked
