"""The stage decontaminate: documents with a long n-gram or a short item of an evaluation set go.

First what is looked for of all evaluation sets is hashed, as one task; then each part is compared with them.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.pipeline import Decontaminate
from deepseek_workloads.contract.records import EvaluationItems
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.compression import without_compression
from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.evaluation_content import read_evaluation_set
from deepseek_workloads.data.prepare.evaluation_items import ItemHashes, KnownItems, sorted_hashes
from deepseek_workloads.data.prepare.judging import drop_judged
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, NgramsRecord
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import Dropped


def collect_ngrams(context: Context, stage: str, settings: Decontaminate, _task: int) -> NgramsRecord:
    hashes = ItemHashes(settings.ngram)
    sets = []
    for uri in settings.uris:
        content, line = read_evaluation_set(context, uri)
        sets.append(line)
        for fields in evaluation_items(content, name=uri, fields=settings.text_fields):
            hashes.add(fields)
    found = EvaluationItems(
        items=hashes.items, matched_whole=hashes.matched_whole, too_short=hashes.too_short
    )
    with context.output() as output:
        ngrams, whole, beginnings = (
            put_file(output, context.key(f"duplicates/{stage}/{number:05d}"), sorted_hashes(each).tobytes())
            for number, each in enumerate((hashes.ngrams, hashes.whole, hashes.beginnings))
        )
        record = NgramsRecord(
            number=0,
            hashes=ngrams,
            whole_hashes=whole,
            beginning_hashes=beginnings,
            whole_lengths=sorted(hashes.lengths),
            items=found,
            sets=sets,
        )
        return put_record(output, context, stage, record)


def contaminated_part(
    context: Context,
    stage: str,
    settings: Decontaminate,
    ngrams: NgramsRecord,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> DropRecord:
    with context.output() as store:
        files = (ngrams.hashes, ngrams.whole_hashes, ngrams.beginning_hashes)
        hashes, whole, beginnings = (np.frombuffer(read_file(store, file), dtype="<u8") for file in files)
        known = KnownItems(settings.ngram, hashes, whole, beginnings, lengths=ngrams.whole_lengths)

        def judge(text: str) -> Dropped | None:
            found = known.first_in(text)
            return None if found is None else Dropped("contaminated", found)

        return drop_judged(context, store, judge, stage=stage, documents=documents, dropped=dropped)


def evaluation_texts(content: bytes, *, name: str, fields: Sequence[str]) -> Iterator[str]:
    """Of JSON lines the fields that are there, joined; of anything else the whole. Raises DatasetError."""
    return map("\n".join, evaluation_items(content, name=name, fields=fields))


def evaluation_items(content: bytes, *, name: str, fields: Sequence[str]) -> Iterator[list[str]]:
    """Of each JSON line the fields that are there; of anything else the whole. Raises DatasetError."""
    try:
        if not without_compression(name).endswith((".jsonl", ".ndjson")):
            yield [content.decode()]
            return
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                yield _fields_of(json.loads(line), fields, line=number)
    except ValueError as error:
        raise DatasetError(
            f"evaluation set {name}: {error}: give UTF-8 text, or JSON lines with one of the fields {fields}",
            reasons.INVALID_RUN_CONFIG,
        ) from error


def _fields_of(record: object, fields: Sequence[str], *, line: int) -> list[str]:
    """Raises ValueError."""
    values = [record.get(name) for name in fields] if isinstance(record, dict) else []
    texts = [value for value in values if isinstance(value, str)]
    if not texts:
        raise ValueError(f"line {line} has none of the fields {list(fields)} as a string")
    return texts
