"""Stored logits of a teacher: the record of a window, a reader that believes nothing, what a run must share.

Of each of the T positions of a window: k token ids, the logarithms of their probabilities at the temperature,
and that of what all others have together. It does not know the teacher, nor what is learnt from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import ValidationError

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.contract.teacher_logits import (
    TEACHER_LOGITS_MANIFEST,
    TeacherLogits,
    TopKFile,
    TopKSource,
)
from deepseek_workloads.data.blocks import Tokens
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.loss_mask import ids_of
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.samples import Samples
from deepseek_workloads.store.interface import ByteRange, ObjectChanged, ObjectStore

INDEX_ROW = np.dtype([("record", "<u8"), ("tokens", "<u8")])
_REMEDY = (
    "compute them again (python -m deepseek_workloads.train.teacher_logits), or use distillation.teacher"
)


@dataclass(frozen=True)
class TopK:
    """Of b windows."""

    ids: npt.NDArray[np.uint32]  # [b, T, k]
    log_probabilities: npt.NDArray[np.float32]  # [b, T, k]
    log_rest: npt.NDArray[np.float32]  # [b, T]; -inf where k is the vocabulary


def record_of(top_k: TopK, row: int) -> bytes:
    parts = (top_k.ids[row].astype("<u4"), top_k.log_probabilities[row].astype("<f4"))
    return b"".join(part.tobytes() for part in (*parts, top_k.log_rest[row].astype("<f4")))


def record_bytes(*, sequence_length: int, top_k: int) -> int:
    return sequence_length * (8 * top_k + 4)


def record_checksum(record: bytes) -> int:
    return xxhash.xxh3_64_intdigest(record)


def tokens_checksum(tokens: Tokens) -> int:
    """Of token ids in any width."""
    return xxhash.xxh3_64_intdigest(ids_of(tokens).astype("<u4").tobytes())


def read_teacher_logits(store: ObjectStore, digest: str | None) -> TeacherLogits:
    """Raises DatasetError where the manifest is another or none of this version, and the StoreErrors of
    reading."""
    document = store.read(TEACHER_LOGITS_MANIFEST)
    uri = join_uri(store.uri, TEACHER_LOGITS_MANIFEST)
    if digest is not None and (found := sha256_digest(document)) != digest:
        raise DatasetError(f"{uri}: digest {found}: must be {digest}: {_REMEDY}")
    try:
        return TeacherLogits.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(f"{uri}: no manifest of this version: {error}: {_REMEDY}") from error


def mismatches(stored: TeacherLogits, run: TrainingRun, dataset_digests: Sequence[str]) -> Iterator[str]:
    """What of a run is not what the logits were computed for, in words. `dataset_digests`: of its sources."""
    wanted = run.training.distillation
    assert wanted is not None
    shared = {
        "spec.data.sequenceLength": (run.data.sequence_length, stored.sequence_length),
        "spec.training.distillation.temperature": (wanted.temperature, stored.temperature),
        "vocabSize of spec.model": (run.architecture.vocab_size, stored.vocab_size),
    }
    for name, (ours, theirs) in shared.items():
        if ours != theirs:
            yield f"{name} is {ours}, they were computed with {theirs}: use {theirs}, or {_REMEDY}"
    known = {source.dataset_digest for source in stored.sources}
    for source, digest in zip(run.data.sources, dataset_digests, strict=True):
        if digest not in known:
            yield (
                f"data source {source.name!r} has digest {digest}, they are of {', '.join(sorted(known))}: "
                f"name that dataset, or {_REMEDY}"
            )


class TopKReader:
    """Of the sources of a run, in their order; what `mismatches` names is not there."""

    def __init__(self, store: ObjectStore, stored: TeacherLogits, dataset_digests: Sequence[str]) -> None:
        by_digest = {source.dataset_digest: source for source in stored.sources}
        self._store, self._stored = store, stored
        self._files = [_Files(by_digest[digest]) for digest in dataset_digests]
        self._indexes: dict[str, npt.NDArray[np.void]] = {}

    def read(self, samples: Samples, tokens: Sequence[Tokens]) -> TopK:
        """`tokens`: of each sample's window. Raises ObjectChanged when a record is not what its index says,
        twice, or is of other tokens; and what the store raises."""
        places = [
            self._files[source].place(window)
            for source, window in zip(samples.source.tolist(), samples.window.tolist(), strict=True)
        ]
        for (file, number), of_window in zip(places, tokens, strict=True):
            if int(self._index(file)[number]["tokens"]) != tokens_checksum(of_window):
                raise ObjectChanged(
                    f"{self._store.uri}: {file.key}: record {number} is of other tokens than the window that "
                    f"the run takes: {_REMEDY}"
                )
        records = self._verified(places)
        return self._parsed(records)

    def _verified(self, places: Sequence[tuple[TopKFile, int]]) -> list[bytes]:
        records = self._store.read_ranges([self._range(place) for place in places])
        bad = [n for n, record in enumerate(records) if not self._is(places[n], record)]
        again = self._store.read_ranges([self._range(places[n]) for n in bad])
        for n, record in zip(bad, again, strict=True):
            if not self._is(places[n], record):
                file, number = places[n]
                raise ObjectChanged(
                    f"{self._store.uri}: {file.key}: record {number}: its checksum is not the index's, "
                    f"twice: restore the file, or {_REMEDY}"
                )
            records[n] = record
        return records

    def _is(self, place: tuple[TopKFile, int], record: bytes) -> bool:
        file, number = place
        return record_checksum(record) == int(self._index(file)[number]["record"])

    def _range(self, place: tuple[TopKFile, int]) -> ByteRange:
        file, number = place
        size = record_bytes(sequence_length=self._stored.sequence_length, top_k=self._stored.top_k)
        return ByteRange(file.key, number * size, (number + 1) * size)

    def _index(self, file: TopKFile) -> npt.NDArray[np.void]:
        """Read when first needed: 16 bytes a window."""
        found = self._indexes.get(file.index_key)
        if found is None:
            content = self._store.read(file.index_key)
            if object_checksum(content) != file.index_checksum:
                raise ObjectChanged(
                    f"{self._store.uri}: {file.index_key}: its checksum is not the manifest's: restore it, "
                    f"or {_REMEDY}"
                )
            found = self._indexes[file.index_key] = np.frombuffer(content, dtype=INDEX_ROW)
        return found

    def _parsed(self, records: Sequence[bytes]) -> TopK:
        length, k = self._stored.sequence_length, self._stored.top_k
        content = np.frombuffer(b"".join(records), dtype="<u4").reshape(len(records), -1)
        ids, log_probabilities, log_rest = np.split(content, [length * k, 2 * length * k], axis=1)
        return TopK(
            ids.reshape(-1, length, k),
            log_probabilities.view("<f4").reshape(-1, length, k),
            log_rest.view("<f4"),
        )


class _Files:
    """Which file has a window, and as which of its records."""

    def __init__(self, source: TopKSource) -> None:
        self._files = source.files
        self._ends = np.array(list(accumulate(file.windows for file in source.files)))

    def place(self, window: int) -> tuple[TopKFile, int]:
        number = int(np.searchsorted(self._ends, window, side="right"))
        first = int(self._ends[number - 1]) if number else 0
        return self._files[number], window - first
