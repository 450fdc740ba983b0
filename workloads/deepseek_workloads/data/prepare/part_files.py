"""The documents of one part in storage: written by `read` and by every pass, read by what comes after."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.documents import (
    INDEX_DTYPE,
    Document,
    DocumentWriter,
    iter_texts,
    sorted_hashes,
)
from deepseek_workloads.data.prepare.dropped import dropped_documents
from deepseek_workloads.data.prepare.records import DocumentsRecord, DropRecord
from deepseek_workloads.store.interface import ByteRange, ObjectStore


def put_documents(
    context: Context, store: ObjectStore, writer: DocumentWriter, *, name: str, number: int
) -> DocumentsRecord:
    """`name`: of the stage that wrote them; `number`: of the part."""
    index, texts = writer.index, writer.texts
    hashes, bucket_starts = sorted_hashes(index)
    key = context.key(f"documents/{name}/{number:05d}")
    return DocumentsRecord(
        number=number,
        texts=put_file(store, f"{key}.txt", texts),
        index=put_file(store, f"{key}.index", index.tobytes()),
        hashes=put_file(store, f"{key}.hashes", hashes.tobytes()),
        bucket_starts=bucket_starts,
        documents=len(index),
        text_bytes=len(texts),
        languages=writer.languages,
    )


def iter_documents(
    store: ObjectStore, record: DocumentsRecord, dropped: Sequence[DropRecord]
) -> Iterator[tuple[int, Document]]:
    """(number, document) of those that no stage dropped since they were written. Raises ObjectChanged."""
    index = np.frombuffer(read_file(store, record.index), dtype=INDEX_DTYPE)
    wanted = np.ones(len(index), dtype=bool)
    wanted[dropped_documents(store, dropped, part=record.number)] = False
    languages = ["", *record.languages]
    texts = read_file(store, record.texts)
    for number, text in iter_texts(texts, index, wanted=wanted):
        yield number, _document(text, index[number], languages)


def _document(text: str, row: np.void, languages: Sequence[str]) -> Document:
    difficulty = float(row["difficulty"])
    return Document(
        text,
        languages[row["language"]],
        difficulty=None if math.isnan(difficulty) else difficulty,
        made_from=None if row["split"] == row["low"] else int(row["split"]),
    )


def beginning_of(store: ObjectStore, record: DocumentsRecord, number: int, *, characters: int) -> str:
    """Of one document, as an example: at most so many characters."""
    index = np.frombuffer(read_file(store, record.index), dtype=INDEX_DTYPE)
    size = int(index["size"][number])
    start = int(index["size"][:number].sum())
    wanted = ByteRange(record.texts.key, start, start + min(size, 4 * characters))
    [content] = store.read_ranges([wanted])
    return content.decode(errors="ignore")[:characters]
