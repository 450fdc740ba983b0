"""Rows of a Parquet object as records, one row group in memory at a time.

A row group belongs to the slice in which it begins, so slices that cover an object give each row once.
Columns of extension types are refused, and their code is never asked for.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.prepare.reading import BadRecord
from deepseek_workloads.data.prepare.records import RawSlice
from deepseek_workloads.data.prepare.rendering import fields_of, joined
from deepseek_workloads.data.prepare.stored_file import ReadBytes, StoredFile

ROWS_TOGETHER = 1024
Row = dict[str, Any]


def iter_rows(
    read: ReadBytes, *, piece: RawSlice, source: RawSource
) -> Iterator[tuple[int, Row] | BadRecord]:
    """(row number in the object, record) of the slice; a BadRecord for what cannot be read."""
    try:
        file = pq.ParquetFile(StoredFile(read, size=piece.size), pre_buffer=True)
        columns = _columns(file, source)
    except (ValueError, pa.ArrowException) as error:
        if piece.start == 0:  # of all slices of the object one says so
            yield BadRecord(piece.key, 0, f"not Parquet that can be read: {error}", b"", piece.size)
        return
    try:
        yield from _rows(file, columns, piece)
    except (ValueError, pa.ArrowException) as error:
        reason = f"the rows from here on cannot be read: {error}"
        yield BadRecord(piece.key, piece.start, reason, b"", piece.end - piece.start)


def _columns(file: pq.ParquetFile, source: RawSource) -> list[str]:
    """Raises ValueError."""
    schema = file.schema_arrow
    missing = [name for name in fields_of(source) if name not in schema.names]
    if missing:
        raise ValueError(f"it has no column {joined(missing)}; its columns are {joined(schema.names)}")
    wanted = [*fields_of(source), *(["language"] if "language" in schema.names else [])]
    for name in wanted:
        if _is_extended(schema.field(name).type):
            raise ValueError(f"column {name!r} is of an extension type: write it as its storage type")
    return wanted


def _is_extended(kind: pa.DataType) -> bool:
    """Itself, or what it is made of."""
    if isinstance(kind, pa.BaseExtensionType):
        return True
    return any(_is_extended(kind.field(child).type) for child in range(kind.num_fields))


def _rows(file: pq.ParquetFile, columns: list[str], piece: RawSlice) -> Iterator[tuple[int, Row]]:
    number = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if piece.start <= _beginning(file, group) < piece.end:
            batches = file.iter_batches(ROWS_TOGETHER, row_groups=[group], columns=columns, use_threads=False)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=number)
        number += rows


def _beginning(file: pq.ParquetFile, group: int) -> int:
    """Byte at which the first page of a row group's first column begins."""
    column = file.metadata.row_group(group).column(0)
    pages = (column.dictionary_page_offset, column.data_page_offset)
    return min(int(offset) for offset in pages if offset)  # 0: it has no such page
