"""The parts of logits in storage, and their publication by one conditional write of the manifest.

Files are named by their content, and a part's record comes after them, so that processes that are killed, or
that compute the same part, do no harm. It does not know teachers, nor who computes which part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import join_uri
from deepseek_workloads.contract.teacher_logits import (
    TEACHER_LOGITS_MANIFEST,
    TeacherLogits,
    TopKFile,
    TopKPart,
)
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.top_k import read_index, read_teacher_logits
from deepseek_workloads.store.interface import AlreadyExists, NotFound, ObjectChanged, ObjectStore
from deepseek_workloads.store.part_records import delete_record, put_record, read_records
from deepseek_workloads.train.teacher_logits.parts import Part


@dataclass(frozen=True)
class Published:
    digest: str  # of the manifest
    records: int


class StoredParts:
    """Of the logits that `wanted` names, which has no files yet."""

    def __init__(self, store: ObjectStore, wanted: TeacherLogits, *, part_positions: int) -> None:
        """`part_positions`: by which the parts were planned."""
        self._store, self._wanted = store, wanted
        identity = wanted.unwritten().to_json() + f" {part_positions}".encode()
        attempt = sha256_digest(identity).removeprefix("sha256:")[:16]
        self._files, self._records = f"data/{attempt}/", f"parts/{attempt}/"

    def finished(self) -> dict[int, TopKFile]:
        """Of the parts that have a record, by their numbers."""
        documents = read_records(self._store, self._records)
        try:
            return {
                number: TopKPart.model_validate_json(document).file for number, document in documents.items()
            }
        except ValidationError as error:
            raise DatasetError(
                f"{join_uri(self._store.uri, self._records)}: no records of parts: {error}: delete them, and "
                "the parts are computed again"
            ) from error

    def is_sound(self, file: TopKFile) -> bool:
        """Whether every record is what its index says; reads all of the file."""
        wanted = self._wanted
        try:
            index = read_index(self._store, file, top_k=wanted.top_k, sequence_length=wanted.sequence_length)
            content = memoryview(self._store.read(file.key))
        except (NotFound, ObjectChanged):
            return False
        bounds = index.starts.tolist()
        return len(content) == file.size and all(
            index.is_record(number, content[bounds[number] : bounds[number + 1]])
            for number in range(file.records)
        )

    def put(self, part: Part, records: Sequence[bytes], index: bytes) -> None:
        """From here on the part is finished. `index`: of the records."""
        checksum, content = object_checksum(index), b"".join(records)
        key = f"{self._files}{part.number:05d}-{checksum.rpartition(':')[2]}"
        self._store.put(key, content)
        self._store.put(f"{key}.index", index)
        file = TopKFile(
            key=key,
            records=len(records),
            size=len(content),
            index_key=f"{key}.index",
            index_checksum=checksum,
        )
        put_record(self._store, self._records, part.number, TopKPart(file=file).to_json())

    def forget(self, part: Part) -> None:
        """It is to be computed again."""
        delete_record(self._store, self._records, part.number)

    def published(self) -> Published | None:
        """What is there, if it is what is wanted. Raises DatasetError where there are other logits."""
        try:
            document = self._store.read(TEACHER_LOGITS_MANIFEST)
        except NotFound:
            return None
        digest = sha256_digest(document)
        found = read_teacher_logits(self._store, digest)
        if found.unwritten() != self._wanted.unwritten():
            raise DatasetError(
                f"{join_uri(self._store.uri, TEACHER_LOGITS_MANIFEST)}: logits of another teacher, of other "
                "datasets or by other settings, which are never overwritten: name a fresh prefix",
                reasons.DATASET_EXISTS,
            )
        return Published(digest, sum(source.records for source in found.sources))

    def publish(self, parts: Sequence[Part], finished: Mapping[int, TopKFile]) -> Published:
        """`parts`: all, each of which `finished` names, as it was found. Returns what is there now, by
        whichever process."""
        sources = [
            source.model_copy(
                update={"files": [finished[part.number] for part in parts if part.source == number]}
            )
            for number, source in enumerate(self._wanted.sources)
        ]
        document = self._wanted.model_copy(update={"sources": sources}).to_json()
        try:
            self._store.create(TEACHER_LOGITS_MANIFEST, document)
        except AlreadyExists:
            found = self.published()
            assert found is not None
            return found
        return Published(sha256_digest(document), sum(source.records for source in sources))
