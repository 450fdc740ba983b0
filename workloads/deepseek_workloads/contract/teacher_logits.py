"""A teacher's most probable next tokens at the positions of datasets that are learnt, as they lie in object
storage."""

from typing import Final, Literal, Self

from pydantic import Field

from deepseek_workloads.contract.keys import RelativeKey
from deepseek_workloads.contract.wire import TolerantWireModel

TEACHER_LOGITS_MANIFEST: Final = "teacher-logits.json"


class TopKFile(TolerantWireModel):
    """Records one after another (`data.top_k`)."""

    key: RelativeKey
    records: int = Field(ge=1)
    size: int = Field(ge=0)  # bytes
    index_key: RelativeKey  # of `data.top_k.INDEX_ROW`, one a record
    index_checksum: str


class TopKPart(TolerantWireModel):
    """Written last by the process that computed a part of the records."""

    file: TopKFile


class TopKSource(TolerantWireModel):
    """Of the training split of one dataset: a record of each window of running text, or of each conversation,
    in their order."""

    dataset_digest: str
    files: list[TopKFile] = Field(default_factory=list)

    @property
    def records(self) -> int:
        return sum(file.records for file in self.files)


class TeacherLogits(TolerantWireModel):
    """`<uri>/teacher-logits.json`. A run that reads it has the same datasets, objective, sequence length,
    document mask and temperature."""

    format_version: Literal[2] = 2
    teacher_uri: str
    teacher_digest: str
    precision: Literal["fp32", "bf16"] = "fp32"  # that the teacher computed in
    top_k: int = Field(ge=1)
    temperature: float = Field(gt=0)  # of the probabilities
    vocab_size: int = Field(ge=1)  # of the teacher
    objective: Literal["pretrain", "sft"] = "pretrain"
    sequence_length: int = Field(ge=2)  # of what it was shown at a time
    document_mask: bool = False  # whether it kept the documents of running text apart
    sources: list[TopKSource]

    def unwritten(self) -> Self:
        """What was asked for: of two that are equal the same is computed, wherever the teacher lies."""
        sources = [source.model_copy(update={"files": []}) for source in self.sources]
        return self.model_copy(update={"teacher_uri": "", "sources": sources})
