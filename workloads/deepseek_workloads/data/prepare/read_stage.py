"""The stage `read`: raw objects of one part -> its documents, hashed, and its bad records, set aside."""

from collections.abc import Iterator, Sequence
from functools import partial

from deepseek_workloads.contract.run_config import DatasetRun, RawSource
from deepseek_workloads.data.chat import from_document, to_document
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter, normalize
from deepseek_workloads.data.prepare.part_files import put_documents
from deepseek_workloads.data.prepare.reading import (
    MAX_RECORD_BYTES,
    QUARANTINED_BYTES,
    BadRecord,
    LongLine,
    decode_record,
    decode_text,
    iter_lines,
    too_large,
)
from deepseek_workloads.data.prepare.records import Part, RawSlice, ReadRecord
from deepseek_workloads.data.prepare.stage import READ, put_record
from deepseek_workloads.store.interface import ByteRange, ObjectStore

TOGETHER_BYTES = 16 * 1024 * 1024  # text objects that are asked for at once
QUARANTINED_RECORDS = 10_000  # of one part; all are counted
EXAMPLES = 3


def read_part(context: Context, part: Part) -> ReadRecord:
    """Raises ObjectChanged when a raw object is not the one that was planned."""
    writer = DocumentWriter()
    bad: list[BadRecord] = []
    empty = bad_records = 0
    for item in _records(context, part.slices):
        if isinstance(item, BadRecord):
            bad_records += 1
            bad += [item] if len(bad) < QUARANTINED_RECORDS else []
            continue
        text = _normalized(item.text, context.run)
        if text.strip():
            writer.add(Document(text, item.language))
        else:
            empty += 1
    return _write(context, part, writer, bad, empty=empty, bad_records=bad_records)


def _normalized(text: str, run: DatasetRun) -> str:
    """Of conversations what is said, not the JSON around it."""
    if not run.conversations:
        return normalize(text, run.normalization)
    messages = from_document(text)
    return to_document(
        [
            {"role": message["role"], "content": normalize(message["content"], run.normalization)}
            for message in messages
        ]
    )


def _write(
    context: Context,
    part: Part,
    writer: DocumentWriter,
    bad: Sequence[BadRecord],
    *,
    empty: int,
    bad_records: int,
) -> ReadRecord:
    quarantine_key = context.quarantine_key(part.number) if bad else None
    with context.output() as store:
        if quarantine_key:
            store.put(quarantine_key, b"".join(record.to_json() for record in bad))
        written = put_documents(context, store, writer, name=READ, number=part.number)
        record = ReadRecord(
            **dict(written),
            empty=empty,
            bad_records=bad_records,
            bad_examples=[str(record) for record in bad[:EXAMPLES]],
            quarantine_key=quarantine_key,
        )
        return put_record(store, context, READ, record)


def _records(context: Context, slices: Sequence[RawSlice]) -> Iterator[Document | BadRecord]:
    """In the order of the slices; neighbouring slices of one source share a store."""
    for number, source in enumerate(context.run.raw_sources):
        of_source = [piece for piece in slices if piece.source == number]
        if not of_source:
            continue
        with context.raw(number) as store:
            read = _texts if source.format == "text" else _lines
            yield from read(store, source, of_source)


def _texts(
    store: ObjectStore, _source: RawSource, slices: Sequence[RawSlice]
) -> Iterator[Document | BadRecord]:
    for group in _groups(slices):
        contents = store.read_ranges(
            [ByteRange(piece.key, 0, _bytes_wanted(piece), piece.etag) for piece in group]
        )
        for piece, content in zip(group, contents, strict=True):
            if piece.size > MAX_RECORD_BYTES:
                yield too_large(content, size=piece.size, key=piece.key, offset=0)
            else:
                yield decode_text(content, key=piece.key)


def _bytes_wanted(piece: RawSlice) -> int:
    return piece.size if piece.size <= MAX_RECORD_BYTES else min(piece.size, QUARANTINED_BYTES)


def _lines(
    store: ObjectStore, source: RawSource, slices: Sequence[RawSlice]
) -> Iterator[Document | BadRecord]:
    for piece in slices:
        read = partial(_read_range, store, piece)
        for offset, line in iter_lines(read, start=piece.start, end=piece.end, size=piece.size):
            if isinstance(line, LongLine):
                yield too_large(line.beginning, size=line.size, key=piece.key, offset=offset)
            elif line.strip():
                yield decode_record(line, source=source, key=piece.key, offset=offset)


def _read_range(store: ObjectStore, piece: RawSlice, start: int, end: int) -> bytes:
    return store.read_ranges([ByteRange(piece.key, start, end, piece.etag)])[0]


def _groups(slices: Sequence[RawSlice]) -> Iterator[list[RawSlice]]:
    group: list[RawSlice] = []
    size = 0
    for piece in slices:
        if group and size + piece.size > TOGETHER_BYTES:
            yield group
            group, size = [], 0
        group.append(piece)
        size += piece.size
    yield group
