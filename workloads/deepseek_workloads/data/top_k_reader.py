"""Reads what a teacher foresees at the positions of a run's rows, and believes nothing.

Which records a window has follows from its kind: one of running text has its own, one of conversations those
of each of them. It does not know files of tokens, nor what is learnt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.teacher_logits import TeacherLogits, TopKFile, TopKSource
from deepseek_workloads.data.blocks import Tokens
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.samples import Samples
from deepseek_workloads.data.top_k import (
    REMEDY,
    TopK,
    TopKIndex,
    joined_records,
    read_index,
    tokens_checksum,
)
from deepseek_workloads.data.windows import PackedWindows, Windows
from deepseek_workloads.store.interface import ByteRange, ObjectChanged, ObjectStore


@dataclass(frozen=True)
class _Place:
    file: TopKFile
    number: int  # of the record in it


class TopKReader:
    """Of the sources of a run, in their order; what `top_k.mismatches` names is not there."""

    def __init__(
        self,
        store: ObjectStore,
        stored: TeacherLogits,
        dataset_digests: Sequence[str],
        windows: Sequence[Windows],
    ) -> None:
        """`windows`: of each source. Raises DatasetError where there are not as many records as they have."""
        by_digest = {source.dataset_digest: source for source in stored.sources}
        self._store, self._stored, self._windows = store, stored, windows
        self._files = [_Files(by_digest[digest]) for digest in dataset_digests]
        self._indexes: dict[str, TopKIndex] = {}
        for files, of_source in zip(self._files, windows, strict=True):
            if files.records != (wanted := _records(of_source)):
                raise DatasetError(f"{store.uri}: {files.records} records of {wanted} texts: {REMEDY}")

    @property
    def top_k(self) -> int:
        return self._stored.top_k

    def read(self, samples: Samples, tokens: Sequence[Tokens], counted: npt.NDArray[np.bool_]) -> TopK:
        """`tokens`: of each sample's window; `counted` [b, T]: the positions of the rows whose labels count.
        Raises ObjectChanged when a record is not what its index says, twice, or is of other tokens or
        positions; and what the store raises."""
        places: list[_Place] = []
        columns = (samples.source.tolist(), samples.window.tolist(), tokens, counted.sum(1).tolist())
        for source, window, of_window, wanted in zip(*columns, strict=True):
            of_row = list(self._places(source, window, of_window))
            found = sum(int(self._row(place)["positions"]) for place in of_row)
            if found != wanted:
                raise ObjectChanged(
                    f"{self._store.uri}: {of_row[0].file.key}: records of {found} positions, where the run "
                    f"learns {wanted}: {REMEDY}"
                )
            places += of_row
        records = self._verified([place for place in places if self._row(place)["positions"]])
        return joined_records(records, np.flatnonzero(counted), top_k=self._stored.top_k)

    def _places(self, source: int, window: int, tokens: Tokens) -> Iterator[_Place]:
        for record, of_record in _records_of(self._windows[source], window, tokens):
            place = self._files[source].place(record)
            if int(self._row(place)["tokens"]) != tokens_checksum(of_record):
                raise ObjectChanged(
                    f"{self._store.uri}: {place.file.key}: record {place.number} is of other tokens than the "
                    f"run takes: {REMEDY}"
                )
            yield place

    def _verified(self, places: Sequence[_Place]) -> list[bytes]:
        records = self._store.read_ranges([self._range(place) for place in places])
        bad = [n for n, record in enumerate(records) if not self._is(places[n], record)]
        again = self._store.read_ranges([self._range(places[n]) for n in bad]) if bad else []
        for n, record in zip(bad, again, strict=True):
            if not self._is(places[n], record):
                raise ObjectChanged(
                    f"{self._store.uri}: {places[n].file.key}: record {places[n].number}: its checksum is "
                    f"not the index's, twice: restore the file, or {REMEDY}"
                )
            records[n] = record
        return records

    def _is(self, place: _Place, record: bytes) -> bool:
        return self._index(place.file).is_record(place.number, record)

    def _range(self, place: _Place) -> ByteRange:
        start, end = self._index(place.file).starts[place.number : place.number + 2].tolist()
        return ByteRange(place.file.key, start, end)

    def _row(self, place: _Place) -> np.void:
        row: np.void = self._index(place.file).rows[place.number]
        return row

    def _index(self, file: TopKFile) -> TopKIndex:
        """Read when first needed: 32 bytes a record."""
        found = self._indexes.get(file.index_key)
        if found is None:
            found = self._indexes[file.index_key] = read_index(
                self._store,
                file,
                top_k=self._stored.top_k,
                sequence_length=self._stored.sequence_length,
            )
        return found


class _Files:
    """Which file has a record of a source, and as which of its own."""

    def __init__(self, source: TopKSource) -> None:
        self._files, self.records = source.files, source.records
        self._ends = np.array(list(accumulate(file.records for file in source.files)))

    def place(self, record: int) -> _Place:
        number = int(np.searchsorted(self._ends, record, side="right"))
        first = int(self._ends[number - 1]) if number else 0
        return _Place(self._files[number], record - first)


def _records(windows: Windows) -> int:
    """Of the texts that windows are made of: conversations, or the windows themselves."""
    return len(windows.document_starts) - 1 if isinstance(windows, PackedWindows) else windows.count


def _records_of(windows: Windows, window: int, tokens: Tokens) -> Iterator[tuple[int, Tokens]]:
    """(record, its tokens) of one window, in their order. `tokens`: of the window, T+1 at most."""
    if not isinstance(windows, PackedWindows):
        yield window, tokens
        return
    first, after = int(windows.first_documents[window]), int(windows.after_documents[window])
    borders = windows.document_starts[first : after + 1] - windows.document_starts[first]
    for document, (start, end) in enumerate(pairwise(borders.tolist()), start=first):
        yield document, tokens[start:end]
