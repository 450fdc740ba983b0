"""How rare the words of a text are, by the documents that hold them.

The weight of a word is ln(documents / documents that hold it) / ln(documents): 0 of a word that each has, 1
of one that no other has. A text has the mean over its words, repeated ones as often as they are there.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.document_frequencies import WordBuckets, read_totals
from deepseek_workloads.data.prepare.records import TotalsRecord


def rarity_scorer(
    context: Context, totals: Sequence[TotalsRecord], *, documents: int
) -> Callable[[str], float | None]:
    """`documents`: those that `totals` are of. None where there is nothing to compare with, or by."""
    frequencies, buckets = read_totals(context, totals), WordBuckets()

    def score(text: str) -> float | None:
        of_text = buckets.of(text)
        if documents < 2 or not len(of_text):
            return None
        return float(word_weights(frequencies[of_text], documents=documents).mean())

    return score


def word_weights(frequencies: npt.NDArray[np.uint32], *, documents: int) -> npt.NDArray[np.float64]:
    """Of words that so many documents hold; of one that none holds 1. `documents`: 2 or more."""
    weights: npt.NDArray[np.float64] = 1 - np.log(np.maximum(frequencies, 1)) / np.log(documents)
    return weights
