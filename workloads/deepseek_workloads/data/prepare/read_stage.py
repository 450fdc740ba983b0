"""The stage `read`: raw objects of one part -> its documents, hashed, and its bad records, set aside."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Final

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import DatasetRun, RawSource
from deepseek_workloads.data.chat import from_document, to_document
from deepseek_workloads.data.image_text import ImageText
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.captions import captioned, split_captions
from deepseek_workloads.data.prepare.compression import compression_of
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.documents import Document, DocumentWriter, content_hash, normalize
from deepseek_workloads.data.prepare.parquet_input import iter_rows
from deepseek_workloads.data.prepare.part_files import put_documents
from deepseek_workloads.data.prepare.part_images import Decoded, PartImages
from deepseek_workloads.data.prepare.reading import (
    MAX_RECORD_BYTES,
    QUARANTINED_BYTES,
    BadRecord,
    LongLine,
    ToText,
    decode_page,
    decode_record,
    decode_text,
    document_of,
    iter_lines,
    lines_of_stream,
    row_content,
    text_of_record,
    too_large,
)
from deepseek_workloads.data.prepare.records import Part, RawSlice, ReadRecord
from deepseek_workloads.data.prepare.stage import READ, put_record
from deepseek_workloads.data.prepare.stored_file import (
    CannotDecompress,
    chunks_of,
    open_stored,
)
from deepseek_workloads.data.prepare.tar_input import iter_samples
from deepseek_workloads.store.interface import ByteRange, ObjectStore

TOGETHER_BYTES = 16 * 1024 * 1024  # text objects that are asked for at once
QUARANTINED_RECORDS = 10_000  # of one part; all are counted
EXAMPLES = 3
MAX_PART_BYTES = 4 * 1024**3  # of text: a task holds it in memory


def read_part(context: Context, part: Part) -> ReadRecord:
    """Raises ObjectChanged when a raw object is not the one that was planned, DatasetError when a part that
    cannot be cut has more text than a task can hold."""
    writer = DocumentWriter()
    images = PartImages(context.run.image_settings, context.run.image_augmentation)
    bad: list[BadRecord] = []
    empty = bad_records = 0
    for item in iter_records(context, part.slices, images):
        if isinstance(item, BadRecord):
            bad_records += 1
            bad += [item] if len(bad) < QUARANTINED_RECORDS else []
            continue
        text = normalized_text(item.text, context.run)
        if not is_empty(text, context.run):
            writer.add(Document(text, item.language))
            _add_copies(writer, item, context.run, made_from=content_hash(text.encode())[1])
            _check_size(context, part, writer.size + images.size)
        else:
            empty += 1
    return _write(context, part, writer, images, bad, empty=empty, bad_records=bad_records)


def _add_copies(writer: DocumentWriter, item: Document, run: DatasetRun, *, made_from: int) -> None:
    for copy in item.copies:
        writer.add(Document(normalized_text(copy, run), item.language, made_from=made_from))


def is_empty(text: str, run: DatasetRun) -> bool:
    return ImageText.from_document(text).empty if run.with_images else not text.strip()


def _check_size(context: Context, part: Part, size: int) -> None:
    """Parts are planned by bytes as they are stored, which tell little where these are compressed, or name
    images."""
    if size <= MAX_PART_BYTES:
        return
    sources = context.run.raw_sources
    for piece in part.slices:
        source = sources[piece.source]
        if source.format == "image-text":
            raise DatasetError(
                f"spec.sources[{source.name}]: {piece.key}: more than {MAX_PART_BYTES} bytes of images in "
                f"{piece.end - piece.start} bytes of lines: choose a smaller spec.images.imageSize, or store "
                "the lines uncompressed, in smaller objects",
                reasons.OBJECT_TOO_LARGE,
            )
        if compression_of(piece.key) is not None or source.format in ("webdataset", "parquet"):
            raise DatasetError(
                f"spec.sources[{source.name}]: {piece.key}: more than {MAX_PART_BYTES} bytes of text in one "
                "part, of objects that are compressed or tars: split them into smaller objects, or lower "
                "spec.shardTokens, by which parts are planned",
                reasons.OBJECT_TOO_LARGE,
            )


def normalized_text(text: str, run: DatasetRun) -> str:
    """Of conversations what is said, not the JSON around it."""
    if run.with_images:
        form = run.normalization
        return ImageText.from_document(text).normalized(partial(normalize, form=form)).to_document()
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
    images: PartImages,
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
            images=images.put(context, store, number=part.number),
            image_digests=images.digests,
        )
        return put_record(store, context, READ, record)


def iter_records(
    context: Context, slices: Sequence[RawSlice], images: PartImages
) -> Iterator[Document | BadRecord]:
    """In the order of the slices; neighbouring slices of one source share a store. Raises ObjectChanged."""
    for number, source in enumerate(context.run.raw_sources):
        of_source = [piece for piece in slices if piece.source == number]
        if not of_source:
            continue
        with context.raw(number) as store:
            if source.format == "image-text":
                lines, captions = split_captions(source, of_source)
                decoded = chain(
                    _decoded(store, source, lines, to_text=images.text_of),
                    captioned(store, source, _contents(store, captions), to_text=images.text_of),
                )
                yield from images.with_patches(store, decoded)
            else:
                yield from _READERS[source.format](store, source, of_source)


def _objects(
    store: ObjectStore, source: RawSource, slices: Sequence[RawSlice]
) -> Iterator[Document | BadRecord]:
    """Each object is a document: text, or an HTML page."""
    decode = decode_page if source.format == "html" else decode_text
    for piece, content in _contents(store, slices):
        yield content if isinstance(content, BadRecord) else decode(content, key=piece.key)


def _contents(store: ObjectStore, slices: Sequence[RawSlice]) -> Iterator[tuple[RawSlice, bytes | BadRecord]]:
    """Whole objects: first those that are stored as they are, some at a time, then the compressed ones."""
    for group in _groups([piece for piece in slices if compression_of(piece.key) is None]):
        contents = store.read_ranges(
            [ByteRange(piece.key, 0, _bytes_wanted(piece), piece.etag) for piece in group]
        )
        for piece, content in zip(group, contents, strict=True):
            large = piece.size > MAX_RECORD_BYTES
            yield piece, too_large(content, size=piece.size, key=piece.key, offset=0) if large else content
    for piece in slices:
        if compression_of(piece.key) is not None:
            yield piece, _decompressed(store, piece)


def _decompressed(store: ObjectStore, piece: RawSlice) -> bytes | BadRecord:
    """It is not read further than MAX_RECORD_BYTES."""
    content = bytearray()
    with open_stored(partial(_read_range, store, piece), key=piece.key, size=piece.size) as file:
        try:
            for chunk in chunks_of(file):
                content += chunk
                if len(content) > MAX_RECORD_BYTES:
                    beginning = bytes(content[:QUARANTINED_BYTES])
                    return too_large(beginning, size=len(content), key=piece.key, offset=0)
        except CannotDecompress as error:
            return BadRecord(piece.key, len(content), str(error), bytes(content[:QUARANTINED_BYTES]))
    return bytes(content)


def _bytes_wanted(piece: RawSlice) -> int:
    return piece.size if piece.size <= MAX_RECORD_BYTES else min(piece.size, QUARANTINED_BYTES)


def _lines(
    store: ObjectStore, source: RawSource, slices: Sequence[RawSlice]
) -> Iterator[Document | BadRecord]:
    for decoded in _decoded(store, source, slices, to_text=text_of_record):
        yield decoded.document


def _decoded(
    store: ObjectStore, source: RawSource, slices: Sequence[RawSlice], *, to_text: ToText
) -> Iterator[Decoded]:
    for piece in slices:
        for offset, line in _lines_of(store, piece):
            if isinstance(line, BadRecord):
                yield Decoded(line.content, line)
            elif isinstance(line, LongLine):
                long = too_large(line.beginning, size=line.size, key=piece.key, offset=offset)
                yield Decoded(line.beginning, long)
            elif line.strip():
                found = decode_record(line, source=source, key=piece.key, offset=offset, to_text=to_text)
                yield Decoded(line, found, key=piece.key, offset=offset)


def _lines_of(store: ObjectStore, piece: RawSlice) -> Iterator[tuple[int, bytes | LongLine | BadRecord]]:
    read = partial(_read_range, store, piece)
    if compression_of(piece.key) is None:
        yield from iter_lines(read, start=piece.start, end=piece.end, size=piece.size)
        return
    with open_stored(read, key=piece.key, size=piece.size) as file:
        try:
            yield from lines_of_stream(chunks_of(file))
        except CannotDecompress as error:
            yield 0, BadRecord(piece.key, 0, str(error), b"", piece.size)


def _rows(
    store: ObjectStore, source: RawSource, slices: Sequence[RawSlice]
) -> Iterator[Document | BadRecord]:
    for piece in slices:
        rows = iter_rows(partial(_read_range, store, piece), piece=piece, source=source)
        yield from _structured(rows, source=source, key=piece.key)


def _samples(
    store: ObjectStore, source: RawSource, slices: Sequence[RawSlice]
) -> Iterator[Document | BadRecord]:
    for piece in slices:
        with open_stored(partial(_read_range, store, piece), key=piece.key, size=piece.size) as file:
            yield from _structured(iter_samples(file, key=piece.key), source=source, key=piece.key)


def _structured(
    items: Iterator[tuple[int, dict[str, Any]] | BadRecord], *, source: RawSource, key: str
) -> Iterator[Document | BadRecord]:
    for item in items:
        if isinstance(item, BadRecord):
            yield item
            continue
        offset, record = item
        outcome = document_of(record, source=source, key=key, offset=offset, content=b"")
        if isinstance(outcome, BadRecord):
            outcome = replace(outcome, content=row_content(record))
        yield outcome


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


_READERS: Final = {
    "text": _objects,
    "html": _objects,
    "jsonl": _lines,
    "chat": _lines,
    "parquet": _rows,
    "webdataset": _samples,
}
