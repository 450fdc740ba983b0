"""What a model that knows only token frequencies would need: the baseline of every evaluation. Pure."""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.uint64]


def unigram_bits_per_byte(counts: Counts, *, train_counts: Counts, text_bytes: int) -> float | None:
    """Bits to code a split's tokens under the train split's token frequencies with one added to each, for
    each byte of the split's text. Both counts: uint64 [vocab_size], EOS included. None without text."""
    if text_bytes == 0:
        return None
    smoothed = train_counts.astype(np.float64) + 1.0
    bits = -np.log2(smoothed / smoothed.sum())
    return float(np.dot(counts.astype(np.float64), bits) / text_bytes)
