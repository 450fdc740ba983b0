"""Documents of one part that go by a judgement of each, made with what was found out about all of them."""

from collections.abc import Callable, Sequence

import numpy as np

from deepseek_workloads.contract.records import DroppedSample
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.dropped import put_dropped
from deepseek_workloads.data.prepare.part_files import iter_documents
from deepseek_workloads.data.prepare.pass_stage import SAMPLED_PARTS
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import SAMPLE_CHARACTERS, Dropped
from deepseek_workloads.store.interface import ObjectStore

SAMPLES_A_PART = 3

Judge = Callable[[str], Dropped | None]  # of a text; None: it stays


def drop_judged(
    context: Context,
    store: ObjectStore,
    judge: Judge,
    *,
    stage: str,
    documents: DocumentsRecord,
    dropped: Sequence[DropRecord],
) -> DropRecord:
    """`dropped`: by earlier stages; these are not judged."""
    found: list[int] = []
    samples: list[DroppedSample] = []
    for number, document in iter_documents(store, documents, dropped):
        verdict = judge(document.text)
        if verdict is None:
            continue
        found.append(number)
        if documents.number < SAMPLED_PARTS and len(samples) < SAMPLES_A_PART:
            text = document.text[:SAMPLE_CHARACTERS]
            samples.append(DroppedSample(reason=verdict.reason, detail=verdict.detail, text=text))
    part = documents.number
    numbers = np.array(found, dtype=np.uint32)
    record = put_dropped(context, store, [numbers], stage=stage, number=part, first_part=part)
    return put_record(store, context, stage, record.model_copy(update={"samples": samples}))
