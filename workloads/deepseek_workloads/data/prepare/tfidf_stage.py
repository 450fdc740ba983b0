"""The stage filterTfIdf: documents whose words are in nearly every document, or in no other, are noise.

Boilerplate has a mean weight near 0, random characters one near 1.
"""

from collections.abc import Sequence

from deepseek_workloads.contract.pipeline import FilterTfIdf
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.judging import drop_judged
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, TotalsRecord
from deepseek_workloads.data.prepare.stages.contract import Dropped
from deepseek_workloads.data.prepare.word_rarity import rarity_scorer

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
    score = rarity_scorer(context, totals, documents=counted)

    def judge(text: str) -> Dropped | None:
        mean = score(text)
        if mean is None or settings.min_mean_weight <= mean <= settings.max_mean_weight:
            return None
        return Dropped(REASON, f"{mean:.4g}")

    with context.output() as store:
        return drop_judged(context, store, judge, stage=stage, documents=documents, dropped=dropped)
