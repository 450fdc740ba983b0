"""Stored logits of a teacher: the record of a text, the index of a file of records, what a run must share.

Of each position whose label counts: k token ids, the logarithms of their probabilities at the temperature,
and that of what all others have together. A record is of a window of running text, or of one conversation,
however these are packed. It does not know the teacher, nor what is learnt from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import ValidationError

from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.contract.teacher_logits import TEACHER_LOGITS_MANIFEST, TeacherLogits, TopKFile
from deepseek_workloads.data.blocks import Tokens
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore

# Of each record the xxh3-64 of it, and of the tokens that it is of, and how many positions it has.
INDEX_ROW = np.dtype([("record", "<u8"), ("tokens", "<u8"), ("positions", "<u8")])
# Published logits are never replaced.
REMEDY = (
    "compute them again under a fresh prefix (python -m deepseek_workloads.train.teacher_logits), or use "
    "distillation.teacher"
)


@dataclass(frozen=True)
class TopK:
    """At N positions of rows."""

    positions: npt.NDArray[np.int64]  # [N], rising: in the rows' positions one after another
    ids: npt.NDArray[np.uint32]  # [N, k]
    log_probabilities: npt.NDArray[np.float32]  # [N, k]
    log_rest: npt.NDArray[np.float32]  # [N]; -inf where k is the vocabulary


def position_bytes(top_k: int) -> int:
    """Of a record, each position."""
    return 8 * top_k + 4


def record_of(top_k: TopK, part: slice) -> bytes:
    parts = (top_k.ids[part].astype("<u4"), top_k.log_probabilities[part].astype("<f4"))
    return b"".join(part.tobytes() for part in (*parts, top_k.log_rest[part].astype("<f4")))


def joined_records(records: Sequence[bytes], positions: npt.NDArray[np.int64], *, top_k: int) -> TopK:
    """`positions` int64 [N]: of all records together."""
    ids, log_probabilities, log_rest = [], [], []
    for record in records:
        content = np.frombuffer(record, dtype="<u4")
        count = len(record) // position_bytes(top_k)
        of_ids, of_values, of_rest = np.split(content, [count * top_k, 2 * count * top_k])
        ids.append(of_ids.reshape(count, top_k))
        log_probabilities.append(of_values.view("<f4").reshape(count, top_k))
        log_rest.append(of_rest.view("<f4"))
    if not records:
        none = np.empty((0, top_k), dtype=np.float32)
        return TopK(positions, none.astype(np.uint32), none, none[:, 0])
    return TopK(positions, np.concatenate(ids), np.concatenate(log_probabilities), np.concatenate(log_rest))


def record_checksum(record: bytes | memoryview) -> int:
    return xxhash.xxh3_64_intdigest(record)


def tokens_checksum(tokens: Tokens) -> int:
    """Of tokens in any width, with the marks of those that are predicted."""
    return xxhash.xxh3_64_intdigest(tokens.astype("<u4").tobytes())


def index_of(records: Sequence[bytes], tokens: Sequence[Tokens], *, top_k: int) -> bytes:
    """`tokens`: that each record is of."""
    rows = [
        (record_checksum(record), tokens_checksum(of_record), len(record) // position_bytes(top_k))
        for record, of_record in zip(records, tokens, strict=True)
    ]
    return np.array(rows, dtype=INDEX_ROW).tobytes()


@dataclass(frozen=True)
class TopKIndex:
    """Of the records of one file."""

    rows: npt.NDArray[np.void]  # INDEX_ROW [records]
    starts: npt.NDArray[np.int64]  # [records + 1]: byte of each, and the end

    def is_record(self, number: int, content: bytes | memoryview) -> bool:
        return record_checksum(content) == int(self.rows[number]["record"])


def read_index(store: ObjectStore, file: TopKFile, *, top_k: int, sequence_length: int) -> TopKIndex:
    """Raises ObjectChanged where it is not what the manifest names, and the StoreErrors of reading."""
    content = store.read(file.index_key)
    where = f"{store.uri}: {file.index_key}"
    if object_checksum(content) != file.index_checksum:
        raise ObjectChanged(f"{where}: its checksum is not the manifest's: restore it, or {REMEDY}")
    if len(content) == file.records * INDEX_ROW.itemsize:
        rows = np.frombuffer(content, dtype=INDEX_ROW)
        positions = rows["positions"]
        starts = np.concatenate([[0], positions.cumsum(dtype=np.uint64)]).astype(np.int64)
        starts *= position_bytes(top_k)
        if positions.max() <= sequence_length and starts[-1] == file.size:
            return TopKIndex(rows, starts)
    raise ObjectChanged(f"{where}: no index of {file.records} records in {file.size} bytes: {REMEDY}")


def read_teacher_logits(store: ObjectStore, digest: str | None) -> TeacherLogits:
    """Raises DatasetError where the manifest is another or none of this version, and the StoreErrors of
    reading."""
    document = store.read(TEACHER_LOGITS_MANIFEST)
    uri = join_uri(store.uri, TEACHER_LOGITS_MANIFEST)
    if digest is not None and (found := sha256_digest(document)) != digest:
        raise DatasetError(f"{uri}: digest {found}: must be {digest}: {REMEDY}")
    try:
        return TeacherLogits.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(f"{uri}: no manifest of this version: {error}: {REMEDY}") from error


def mismatches(stored: TeacherLogits, run: TrainingRun, dataset_digests: Sequence[str]) -> Iterator[str]:
    """What of a run is not what the logits were computed for, in words. `dataset_digests`: of its sources."""
    wanted = run.training.distillation
    assert wanted is not None
    shared: dict[str, tuple[object, object]] = {
        "spec.training.objective": (run.training.objective, stored.objective),
        "spec.data.sequenceLength": (run.data.sequence_length, stored.sequence_length),
        "spec.training.distillation.temperature": (wanted.temperature, stored.temperature),
        "vocabSize of spec.model": (run.architecture.vocab_size, stored.vocab_size),
    }
    if run.training.objective == "pretrain":  # conversations are apart in any case
        masks = (bool(run.data.document_mask), stored.document_mask)
        shared["spec.data.documentMask"] = ("true" if masks[0] else "false", "true" if masks[1] else "false")
    for name, (ours, theirs) in shared.items():
        if ours != theirs:
            yield f"{name} is {ours}, they were computed with {theirs}: use {theirs}, or {REMEDY}"
    known = {source.dataset_digest for source in stored.sources}
    for source, digest in zip(run.data.sources, dataset_digests, strict=True):
        if digest not in known:
            yield (
                f"data source {source.name!r} has digest {digest}, they are of {', '.join(sorted(known))}: "
                f"name that dataset, or {REMEDY}"
            )
