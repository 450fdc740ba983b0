"""The stage scoreDifficulty: a number from 0 to 1 for each document, by how rare its words are."""

from collections.abc import Sequence
from dataclasses import replace

from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import DocumentWriter
from deepseek_workloads.data.prepare.part_files import iter_documents, put_documents
from deepseek_workloads.data.prepare.pass_stage import report_of
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, PassRecord, TotalsRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import StageCounts
from deepseek_workloads.data.prepare.word_rarity import rarity_scorer


def score_part(
    context: Context,
    stage: str,
    totals: Sequence[TotalsRecord],
    counted: int,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> PassRecord:
    """`counted`: the documents that `totals` are of."""
    score = rarity_scorer(context, totals, documents=counted)
    counts, writer = StageCounts(), DocumentWriter()
    with context.output() as store:
        for _, document in iter_documents(store, documents, dropped):
            for kept in counts.take(document, replace(document, difficulty=score(document.text))):
                writer.add(kept)
        written = put_documents(context, store, writer, name=stage, number=documents.number)
        report = report_of(stage, counts, sampled=False)
        return put_record(store, context, stage, PassRecord(**dict(written), reports=[report]))
