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
    weights, buckets = word_weights(read_totals(context, totals), documents=documents), WordBuckets()

    def score(text: str) -> float | None:
        of_text = buckets.of(text)
        return float(weights[of_text].mean()) if documents > 1 and len(of_text) else None

    return score


def word_weights(frequencies: npt.NDArray[np.uint32], *, documents: int) -> npt.NDArray[np.float64]:
    """By bucket; of one that does not occur 1."""
    if documents < 2:
        return np.zeros(len(frequencies))
    weights: npt.NDArray[np.float64] = 1 - np.log(np.maximum(frequencies, 1)) / np.log(documents)
    return weights
