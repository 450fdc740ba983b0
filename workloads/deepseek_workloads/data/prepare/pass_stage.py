"""A pass of record stages over one part: its kept documents through all of them, and what each one did."""

from collections.abc import Sequence

from deepseek_workloads.contract.pipeline import GlobalSettings
from deepseek_workloads.contract.records import DroppedSample, StageReport
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import DocumentWriter
from deepseek_workloads.data.prepare.lexicons import with_lexicon
from deepseek_workloads.data.prepare.part_files import iter_documents, put_documents
from deepseek_workloads.data.prepare.plan import RecordPass
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, PassRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import RecordStage, StageCounts, apply_stages
from deepseek_workloads.data.prepare.stages.registry import record_stage

SAMPLED_PARTS = 64  # the records of all parts are read together: only the first ones bring samples


def pass_part(
    context: Context, step: RecordPass, dropped: Sequence[DropRecord], documents: DocumentsRecord
) -> PassRecord:
    functions = _functions(context, step)
    counts = [StageCounts() for _ in step.stages]
    writer = DocumentWriter()
    with context.output() as store:
        read = (document for _, document in iter_documents(store, documents, dropped))
        for document in apply_stages(read, functions, counts):
            writer.add(document)
        written = put_documents(context, store, writer, name=step.name, number=documents.number)
        sampled = documents.number < SAMPLED_PARTS
        reports = [
            report_of(stage.name, counted, sampled=sampled)
            for stage, counted in zip(step.stages, counts, strict=True)
        ]
        return put_record(store, context, step.name, PassRecord(**dict(written), reports=reports))


def report_of(name: str, counts: StageCounts, *, sampled: bool) -> StageReport:
    samples = [
        DroppedSample(reason=sample.reason, detail=sample.detail, text=sample.text)
        for sample in counts.samples
    ]
    return StageReport(
        name=name,
        documents_in=counts.documents_in,
        documents_out=counts.documents_out,
        bytes_in=counts.bytes_in,
        bytes_out=counts.bytes_out,
        changed=counts.changed,
        dropped=dict(sorted(counts.dropped.items())),
        samples=samples if sampled else [],
    )


def _functions(context: Context, step: RecordPass) -> list[RecordStage]:
    functions = []
    for stage in step.stages:
        assert not isinstance(stage.settings, GlobalSettings)
        functions.append(record_stage(with_lexicon(context, stage.settings)))
    return functions
