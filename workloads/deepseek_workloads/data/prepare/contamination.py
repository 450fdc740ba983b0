"""The stage decontaminate: documents that hold a long n-gram of an evaluation set are dropped.

First the n-grams of all evaluation sets are hashed, as one task; then each part is compared with them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.pipeline import Decontaminate
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.compression import without_compression
from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.evaluation_sets import MAX_EVALUATION_BYTES, line_of
from deepseek_workloads.data.prepare.judging import drop_judged
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord, NgramsRecord
from deepseek_workloads.data.prepare.shingles import hash_ngrams, ngrams_of
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.stages.contract import Dropped
from deepseek_workloads.data.prepare.stored_file import (
    CannotDecompress,
    chunks_of,
    open_stored,
)
from deepseek_workloads.store.interface import ByteRange

Hashes = npt.NDArray[np.uint64]


def collect_ngrams(context: Context, stage: str, settings: Decontaminate, _task: int) -> NgramsRecord:
    hashes = [np.empty(0, dtype=np.uint64)]
    documents = 0
    sets = []
    for uri in settings.uris:
        content, line = read_evaluation_set(context, uri)
        sets.append(line)
        for text in evaluation_texts(content, name=uri, fields=settings.text_fields):
            hashes.append(hash_ngrams(ngrams_of(text, n=settings.ngram)))
            documents += 1
    every = np.unique(np.concatenate(hashes)).astype("<u8")
    with context.output() as output:
        key = context.key(f"duplicates/{stage}/00000")
        file = put_file(output, key, every.tobytes())
        record = NgramsRecord(number=0, hashes=file, documents=documents, sets=sets)
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
        known = np.frombuffer(read_file(store, ngrams.hashes), dtype="<u8")

        def judge(text: str) -> Dropped | None:
            of_text = ngrams_of(text, n=settings.ngram)
            shared = known_among(hash_ngrams(of_text), known)
            return Dropped("contaminated", of_text[int(shared[0])]) if len(shared) else None

        return drop_judged(context, store, judge, stage=stage, documents=documents, dropped=dropped)


def known_among(hashes: Hashes, known: Hashes) -> npt.NDArray[np.intp]:
    """Positions of those that are in `known`, which is sorted and may have millions."""
    if not len(known):
        return np.empty(0, dtype=np.intp)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.flatnonzero(known[at] == hashes)


def read_evaluation_set(context: Context, uri: str) -> tuple[bytes, str]:
    """Decompressed, and which object it is. Raises DatasetError."""
    folder, _, name = uri.rpartition("/")
    with context.open(context.run.raw_storage.model_copy(update={"uri": folder})) as store:
        info = store.stat(name)

        def read(start: int, end: int) -> bytes:
            return store.read_ranges([ByteRange(name, start, end, info.etag)])[0]

        with open_stored(read, key=name, size=info.size) as file:
            try:
                return _whole(chunks_of(file), uri=uri), line_of(uri, info)
            except CannotDecompress as error:
                raise DatasetError(
                    f"evaluation set {uri}: {error}: give it whole, or as it is without .gz and .zst",
                    reasons.INVALID_RUN_CONFIG,
                ) from error


def _whole(chunks: Iterable[bytes], *, uri: str) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_EVALUATION_BYTES:
            raise DatasetError(
                f"evaluation set {uri}: more than {MAX_EVALUATION_BYTES} bytes once decompressed: split it "
                "into several objects",
                reasons.INVALID_RUN_CONFIG,
            )
    return bytes(content)


def evaluation_texts(content: bytes, *, name: str, fields: Sequence[str]) -> Iterator[str]:
    """Of JSON lines the fields that are there, joined; of anything else the whole. Raises DatasetError."""
    try:
        if not without_compression(name).endswith((".jsonl", ".ndjson")):
            yield content.decode()
            return
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                yield _fields_of(json.loads(line), fields, line=number)
    except ValueError as error:
        raise DatasetError(
            f"evaluation set {name}: {error}: give UTF-8 text, or JSON lines with one of the fields {fields}",
            reasons.INVALID_RUN_CONFIG,
        ) from error


def _fields_of(record: object, fields: Sequence[str], *, line: int) -> str:
    """Raises ValueError."""
    values = [record.get(name) for name in fields] if isinstance(record, dict) else []
    texts = [value for value in values if isinstance(value, str)]
    if not texts:
        raise ValueError(f"line {line} has none of the fields {list(fields)} as a string")
    return "\n".join(texts)
