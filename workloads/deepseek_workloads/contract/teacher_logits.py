"""A teacher's most probable next tokens at every position of datasets, as they lie in object storage."""

from typing import Final, Literal

from pydantic import Field

from deepseek_workloads.contract.keys import RelativeKey
from deepseek_workloads.contract.wire import TolerantWireModel

TEACHER_LOGITS_MANIFEST: Final = "teacher-logits.json"


class TopKFile(TolerantWireModel):
    """Records of windows one after another, of the same size each (`data.top_k`)."""

    key: RelativeKey
    windows: int = Field(ge=1)
    # Of each window two uint64, little-endian: the xxh3-64 of its record, and of the token ids that it is of.
    index_key: RelativeKey
    index_checksum: str


class TopKSource(TolerantWireModel):
    """Of the training windows of one dataset, in their order."""

    dataset_digest: str
    files: list[TopKFile]

    @property
    def windows(self) -> int:
        return sum(file.windows for file in self.files)


class TeacherLogits(TolerantWireModel):
    """`<uri>/teacher-logits.json`. A run that reads it has the same datasets, windows and temperature."""

    format_version: Literal[1] = 1
    teacher_uri: str
    teacher_digest: str
    top_k: int = Field(ge=1)
    temperature: float = Field(gt=0)  # of the probabilities
    vocab_size: int = Field(ge=1)  # of the teacher
    sequence_length: int = Field(ge=2)  # of the windows that it was shown
    sources: list[TopKSource]
