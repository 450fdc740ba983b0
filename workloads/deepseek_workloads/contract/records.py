"""Records of the commit log (`log/00000001.json` ...) and manifests: what is true in the object store.

A record is the only way in which anything is published; what no record names is garbage.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from deepseek_workloads.contract.keys import RelativeKey, RelativePrefix
from deepseek_workloads.contract.layout import DATA_PREFIX
from deepseek_workloads.contract.recipe import Recipe
from deepseek_workloads.contract.wire import TolerantWireModel


class FileEntry(TolerantWireModel):
    """One object: `key` is relative to the storage URI."""

    key: RelativeKey
    size: int = Field(ge=0)  # bytes
    checksum: str  # xxh3-128:<hex> of the content


class EpochRecord(TolerantWireModel):
    """A writer takes over: from here on only it may commit."""

    kind: Literal["epoch"] = "epoch"
    epoch: int = Field(ge=1)
    writer: str  # UUID; tells an own lost response from another's success
    created_at: str  # RFC 3339, display only
    run_config_digest: str
    pod: str = ""
    owner_uid: str = ""
    # Orders the writers of one owner, most significant first (incarnation of the coordinator, restarts of the
    # driver, ...): an epoch with a lower term than one in the log is refused.
    term: list[int] = Field(default_factory=list)
    recipe: Recipe | None = None  # what the epoch trains: another one may not go on from its checkpoints


class CheckpointRecord(TolerantWireModel):
    kind: Literal["checkpoint"] = "checkpoint"
    epoch: int = Field(ge=1)
    writer: str
    created_at: str
    step: int = Field(ge=0)
    consumed_samples: int = Field(ge=0)
    tokens: int = Field(ge=0)
    prefix: RelativePrefix  # data/<uuid>/, in torch DCP format
    files: list[FileEntry]
    metrics: dict[str, float] = Field(default_factory=dict)
    architecture_digest: str = ""
    dataset_digests: list[str] = Field(default_factory=list)
    reason: Literal["schedule", "preemption", "control", "final", "rollback"] = "schedule"

    @model_validator(mode="after")
    def _names_its_own_files(self) -> Self:
        """They are deleted when the checkpoint is retired."""
        if not self.prefix.startswith(DATA_PREFIX):
            raise ValueError(f"prefix {self.prefix!r}: a checkpoint lies below {DATA_PREFIX}")
        for file in self.files:
            if not file.key.startswith(self.prefix):
                raise ValueError(
                    f"file {file.key!r} does not lie below the checkpoint's prefix {self.prefix!r}"
                )
        return self


class RetireRecord(TolerantWireModel):
    """These checkpoints are no longer readable: their files may be deleted after this record is durable."""

    kind: Literal["retire"] = "retire"
    epoch: int = Field(ge=1)
    writer: str
    created_at: str
    indices: list[int]  # of the log records of the checkpoints


class ExportRecord(TolerantWireModel):
    kind: Literal["export"] = "export"
    epoch: int = Field(ge=1)
    writer: str
    created_at: str
    step: int = Field(ge=0)
    digest: str  # of exports/<digest>/manifest.json
    prefix: RelativePrefix


LogRecord = Annotated[
    EpochRecord | CheckpointRecord | RetireRecord | ExportRecord, Field(discriminator="kind")
]
_RECORD: TypeAdapter[EpochRecord | CheckpointRecord | RetireRecord | ExportRecord] = TypeAdapter(LogRecord)


def parse_record(document: bytes) -> EpochRecord | CheckpointRecord | RetireRecord | ExportRecord:
    """Raises pydantic.ValidationError."""
    return _RECORD.validate_json(document)


class BaseExport(TolerantWireModel):
    """The export that training started from; its own manifest tells where that came from."""

    uri: str
    digest: str | None = None  # None: the run knew its URI only


class Provenance(TolerantWireModel):
    """From an answer of the model back to the data it saw."""

    owner_namespace: str
    owner_name: str
    owner_uid: str
    epoch: int
    step: int
    consumed_samples: int
    checkpoint_prefix: str
    run_config_digest: str
    dataset_digests: list[str]
    init_from: BaseExport | None = None  # None: random weights
    vision_init_from: BaseExport | None = None  # of the image encoder; None: of init_from, random, or none


class ExportManifest(TolerantWireModel):
    """`exports/<digest>/manifest.json`; the digest of a model is the sha256 of this document."""

    format_version: Literal[1] = 1
    files: list[FileEntry]  # config.json, model*.safetensors, tokenizer.json, generation_config.json, ...
    provenance: Provenance
    evaluation: dict[str, float] = Field(default_factory=dict)
    parameters: int
    architecture: str = "DeepseekV3ForCausalLM"


class ImageColumn(TolerantWireModel):
    """The images of a shard in the order of their places: the bytes of their patches, one after another."""

    key: RelativeKey
    images: int = Field(ge=0)
    size: int = Field(ge=0)  # bytes
    # Of each image two uint64, little-endian: the offset in the shard of its first placeholder token, and the
    # xxh3-64 of its bytes.
    index_key: RelativeKey
    index_checksum: str


class ImageFormat(TolerantWireModel):
    """How images lie in a dataset: squares of bytes in patches, by row; of a patch the red numbers come
    first, by row, then green, then blue."""

    image_size: int = Field(ge=1, le=4096)  # pixels of a side
    patch_size: int = Field(ge=1, le=4096)  # pixels of a side
    image_token: str
    image_token_id: int = Field(ge=0)  # one of it a patch

    @property
    def shape(self) -> tuple[int, int]:
        """Patches, and bytes of each."""
        return (self.image_size // self.patch_size) ** 2, 3 * self.patch_size**2


class Shard(TolerantWireModel):
    """Token ids of whole documents one after another, little-endian, each document ended by the EOS id."""

    key: RelativeKey
    dtype: Literal["uint16", "uint32"]
    tokens: int
    documents: int
    size: int  # bytes
    chunk_tokens: int  # every chunk but the last has this many tokens
    chunk_checksums: list[str]  # xxh3-64:<hex> each, over the bytes of a chunk
    document_offsets_key: RelativeKey  # uint64 little-endian token offsets of the documents' starts
    document_offsets_checksum: str
    facts: FileEntry | None = None  # of each document, document_facts.FACTS_DTYPE
    loss_mask: bool = False  # uint32 whose highest bit says: this token is an answer's, to be predicted
    images: ImageColumn | None = None  # None: text alone


class SplitStatistics(TolerantWireModel):
    documents: int = 0
    tokens: int = 0
    bytes: int = 0  # of UTF-8 text
    unigram_bits_per_byte: float | None = None  # of the tokens under their own training unigram distribution
    predicted_tokens: int | None = None  # of answers in conversations
    predicted_bytes: int | None = None


class DroppedSample(TolerantWireModel):
    """A document that a stage dropped, as an example."""

    reason: str
    detail: str = ""  # the value that broke the rule
    text: str = ""  # its beginning


class EvaluationItems(TolerantWireModel):
    """What decontamination looked for, in records of its evaluation sets."""

    items: int
    matched_whole: int  # of fewer words than an n-gram has
    too_short: int  # not looked for: they would be found in any text


class StageReport(TolerantWireModel):
    """What one stage of preparation did to all documents that reached it."""

    name: str
    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int | None = None  # UTF-8; None where a stage does not look at them
    bytes_out: int | None = None
    changed: int = 0  # documents that came out with another text
    refused: int = 0  # documents that the stage could not treat: they went on as they were
    dropped: dict[str, int] = Field(default_factory=dict)  # documents, by reason
    samples: list[DroppedSample] = Field(default_factory=list)
    evaluation_items: EvaluationItems | None = None  # of decontamination


class DatasetReport(TolerantWireModel):
    """What preparation did, for people and for programs."""

    digest: str  # sha256 of report.json
    files: list[FileEntry]  # report.json, report.html, lengths.png, languages.png


class DatasetManifest(TolerantWireModel):
    """`<uri>/manifest.json`: the digest of a dataset is the sha256 of this document."""

    format_version: Literal[1] = 1
    tokenizer_key: RelativeKey
    tokenizer_digest: str
    vocab_size: int
    bos_token_id: int | None = None
    eos_token_id: int
    pad_token_id: int | None = None
    train: list[Shard]
    held_out: list[Shard]
    statistics: dict[str, SplitStatistics]  # by split: train, heldOut
    languages: dict[str, int] = Field(default_factory=dict)  # documents by language, where known
    documents_in: int = 0
    empty_documents: int = 0
    duplicates_dropped: int = 0
    bad_records: int = 0
    augmented_documents: int = 0  # copies that a stage made, of the documents
    report: DatasetReport | None = None
    # uint64, sorted: hashes of the raw objects (`prepare.raw.object_hashes`); None: of an older operator
    raw_objects: FileEntry | None = None
    chat_template: str | None = None  # of conversations: how messages became text
    images: ImageFormat | None = None  # None: text alone
    raw_fingerprint: str = ""  # sha256 over (uri, etag, size) of the raw objects
    settings_digest: str = ""  # sha256 over what else decides the content: normalization, tokenizer, ...
    owner_uid: str = ""
