"""What the stages of a preparation leave behind: one record for each part, naming files with checksums.

Types only. All keys are relative to the dataset's storage URI.
"""

from pydantic import Field

from deepseek_workloads.contract.keys import RelativeKey
from deepseek_workloads.contract.records import FileEntry, Shard, SplitStatistics
from deepseek_workloads.contract.wire import WireModel


class RawSlice(WireModel):
    """Bytes start..end of one raw object; of JSON lines, the lines that begin there."""

    source: int  # index of the run's raw source
    key: str  # relative to the source's URI
    etag: str
    size: int  # bytes of the whole object
    start: int
    end: int


class Part(WireModel):
    """The unit of work of every stage that goes over documents."""

    number: int
    slices: list[RawSlice]


class StageRecord(WireModel):
    """Written last by the task that it is about."""

    number: int  # of the task: of the part, where a stage goes over parts


class ReadRecord(StageRecord):
    texts: FileEntry  # UTF-8 of the documents, one after another
    index: FileEntry  # documents.INDEX_DTYPE, one row a document
    hashes: FileEntry  # documents.HASH_DTYPE, sorted
    bucket_starts: list[int]  # row in `hashes` of each first byte of a hash, and the end: 257 numbers
    documents: int
    text_bytes: int
    empty: int = 0  # documents without text, dropped
    bad_records: int = 0
    bad_examples: list[str] = Field(default_factory=list)
    quarantine_key: RelativeKey | None = None
    languages: list[str] = Field(default_factory=list)  # names of the index's language numbers, from 1 on


class DeduplicateRecord(StageRecord):
    """Of one range of hashes: which documents are not the first of their text."""

    dropped: FileEntry  # uint32 document numbers, ordered by part
    part_starts: list[int]  # first row of each part in `dropped`, and the end


class TokenizerRecord(StageRecord):
    key: RelativeKey
    digest: str
    vocab_size: int
    bos_token_id: int | None = None
    eos_token_id: int
    pad_token_id: int | None = None


class TokenizeRecord(StageRecord):
    train: list[Shard]
    held_out: list[Shard]
    train_statistics: SplitStatistics
    held_out_statistics: SplitStatistics
    counts: FileEntry  # uint64 [2, vocab_size]: how often each token occurs in train, in held-out
    dropped: int  # duplicates
    refused: int = 0  # conversations that the chat template or the tokenizer cannot take
    refused_examples: list[str] = Field(default_factory=list)
    languages: dict[str, int] = Field(default_factory=dict)  # kept documents


class StageManifest(WireModel):
    """A stage whose parts are all done: the records' documents, in the order of their numbers."""

    stage: str
    records: list[str]
