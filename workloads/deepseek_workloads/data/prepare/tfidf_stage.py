"""The stage filterTfIdf: documents whose words are in nearly every document, or in no other, are noise.

The weight of a word is ln(documents / documents that hold it) / ln(documents): 0 of a word that each has, 1
of one that no other has. A document is judged by the mean over its words, repeated ones as often as they are
there: boilerplate is near 0, random characters are near 1.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.pipeline import FilterTfIdf
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.document_frequencies import WordBuckets, read_totals
from deepseek_workloads.data.prepare.judging import drop_judged
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, TotalsRecord
from deepseek_workloads.data.prepare.stages.contract import Dropped

REASON = "meanTfIdf"


def drop_noise(
    context: Context,
    stage: str,
    settings: FilterTfIdf,
    totals: Sequence[TotalsRecord],
    counted: int,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> DropRecord:
    """`counted`: the documents that `totals` are of."""
    weights, buckets = word_weights(read_totals(context, totals), documents=counted), WordBuckets()

    def judge(text: str) -> Dropped | None:
        of_text = buckets.of(text)
        if counted < 2 or not len(of_text):
            return None  # nothing to compare with, or by
        mean = float(weights[of_text].mean())
        within = settings.min_mean_weight <= mean <= settings.max_mean_weight
        return None if within else Dropped(REASON, f"{mean:.4g}")

    with context.output() as store:
        return drop_judged(context, store, judge, stage=stage, documents=documents, dropped=dropped)


def word_weights(frequencies: npt.NDArray[np.uint32], *, documents: int) -> npt.NDArray[np.float64]:
    """By bucket; of one that does not occur 1."""
    if documents < 2:
        return np.zeros(len(frequencies))
    weights: npt.NDArray[np.float64] = 1 - np.log(np.maximum(frequencies, 1)) / np.log(documents)
    return weights
