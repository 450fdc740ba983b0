"""What the stages of a preparation leave behind: one record for each part, naming files with checksums.

Types only. All keys are relative to the dataset's storage URI.
"""

from pydantic import Field

from deepseek_workloads.contract.keys import RelativeKey
from deepseek_workloads.contract.records import (
    DroppedSample,
    EvaluationItems,
    FileEntry,
    Shard,
    SplitStatistics,
    StageReport,
)
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


class DocumentsRecord(StageRecord):
    """The documents of one part, as a stage wrote them."""

    texts: FileEntry  # UTF-8 of the documents, one after another
    index: FileEntry  # documents.INDEX_DTYPE, one row a document
    hashes: FileEntry  # documents.HASH_DTYPE, sorted
    bucket_starts: list[int]  # row in `hashes` of each first byte of a hash, and the end: 257 numbers
    documents: int
    text_bytes: int
    languages: list[str] = Field(default_factory=list)  # names of the index's language numbers, from 1 on


class ReadRecord(DocumentsRecord):
    empty: int = 0  # documents without text, dropped
    bad_records: int = 0
    bad_examples: list[str] = Field(default_factory=list)
    quarantine_key: RelativeKey | None = None
    images: FileEntry | None = None  # patches of the distinct images, one after another
    image_digests: list[str] = Field(default_factory=list)  # of these, in order; documents name them


class PassRecord(DocumentsRecord):
    reports: list[StageReport]  # of each stage of the pass, for this part
    refused_examples: list[str] = Field(default_factory=list)  # why a stage could not treat a document


class DropRecord(StageRecord):
    """Documents that a stage over all parts dropped."""

    dropped: FileEntry  # uint32 document numbers, ordered by part
    first_part: int = 0
    part_starts: list[int]  # row in `dropped` of each part from the first on, and the end
    samples: list[DroppedSample] = Field(default_factory=list)


class SignaturesRecord(StageRecord):
    """Of one part: which of its documents may be alike to which, and what decides whether they are."""

    shingles: (
        FileEntry  # uint32: the hashes of each document's n-grams, sorted, each once; of dropped ones none
    )
    starts: FileEntry  # uint64: where those of each document begin, and the end
    bands: FileEntry  # near_signatures.BAND_DTYPE, of each band sorted by hash
    rows: int  # of each band


class PairsRecord(StageRecord):
    """Of one band: pairs of documents that are as similar as asked."""

    pairs: FileEntry  # near_pairs.PAIR_DTYPE


class VectorsRecord(StageRecord):
    """Of one part: the embeddings of its documents."""

    vectors: FileEntry  # float16 [rows, dimensions]
    members: FileEntry  # near_pairs.MEMBER_DTYPE
    rows: int
    dimensions: int


class CentroidsRecord(StageRecord):
    """The middles of the clusters that documents are compared within."""

    centroids: FileEntry  # float32 [clusters, dimensions]
    clusters: int
    dimensions: int


class ClusteredRecord(StageRecord):
    """Of one part: its embeddings, ordered by cluster."""

    vectors: FileEntry  # float16 [rows, dimensions]
    members: FileEntry  # near_pairs.MEMBER_DTYPE
    cluster_starts: list[int]  # row of each cluster, and the end
    dimensions: int


class WindowsRecord(StageRecord):
    """Of one part: the hash of every run of words of its documents."""

    windows: FileEntry  # substring_windows.WINDOW_DTYPE, sorted by hash
    bucket_starts: list[int]  # row of each first byte of a hash, and the end: 257 numbers


class RepeatsRecord(StageRecord):
    """Of one range of hashes: the runs of words that occurred before."""

    repeats: FileEntry  # substring_repeats.REPEAT_DTYPE, ordered by part
    part_starts: list[int]  # row of each part, and the end


class FrequenciesRecord(StageRecord):
    """Of one part: in how many of its documents each word is."""

    frequencies: FileEntry  # document_frequencies.FREQUENCY_DTYPE, sorted by bucket
    range_starts: list[int]  # row of each range of buckets, and the end
    documents: int


class TotalsRecord(StageRecord):
    """Of one range of buckets: in how many documents of all parts their words are."""

    totals: FileEntry  # uint32, by bucket


class NgramsRecord(StageRecord):
    """Hashes of what is looked for of evaluation sets: uint64, sorted, each once."""

    hashes: FileEntry  # of n-grams
    whole_hashes: FileEntry  # of items of fewer words
    beginning_hashes: FileEntry  # of the first words of these
    whole_lengths: list[int]  # of these, in words
    items: EvaluationItems
    sets: list[str]  # evaluation_sets.line_of each, as it was read


class NgramModelRecord(StageRecord):
    """A model of characters, made of a reference."""

    model: FileEntry  # ngram_model.pack
    sets: list[str]  # evaluation_sets.line_of each object of the reference, as it was read


class ModelRecord(StageRecord):
    """A model that a stage names was tried."""

    sets: list[str]  # evaluation_sets.line_of each of its files, as it was read


class ServedModelsRecord(StageRecord):
    """What a service has that a stage asks."""

    models: list[str]


class TokenizerRecord(StageRecord):
    key: RelativeKey
    digest: str
    vocab_size: int
    bos_token_id: int | None = None
    eos_token_id: int
    pad_token_id: int | None = None
    image_token_id: int | None = None  # of a dataset with images


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
    lengths: list[int] = Field(default_factory=list)  # kept documents of 2^i .. 2^(i+1)-1 bytes, by i
    difficulties: list[int] = Field(default_factory=list)  # kept documents, by documents.DIFFICULTY_BINS
    augmented: int = 0  # kept documents that are copies


class StageManifest(WireModel):
    """A stage whose parts are all done: the records' documents, in the order of their numbers."""

    stage: str
    records: list[str]
