"""DeepSeekDataset: raw text in object storage becomes shards of tokens with a manifest.

It does not know how the text is prepared (`workloads data/prepare`).
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.drift_check import DriftCheck, DriftCheckStatus
from deepseek_operator.api.meta import NAME_RULES, NamedValue, Resource, RunStatus, ShortText, UriText
from deepseek_operator.api.pipeline import PipelineStage
from deepseek_operator.api.pods import Coordinator, RunPolicy, Workers, placement_changes_only_while_suspended
from deepseek_operator.api.raw_source import RawSource
from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    CountOrPercentage,
    Decimal,
    Fraction,
    Image,
    SpecModel,
    StatusModel,
    StorageUri,
    exactly_one_of,
    immutable,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference, Storage, StorageLocation


class TokenizerTraining(SpecModel):
    """A tokenizer to train on the text."""

    kind: Literal["byteLevelBPE", "wordPiece"] = Field(
        default="byteLevelBPE",
        description="byteLevelBPE gives every text back. wordPiece cuts words into pieces: white space "
        "becomes one space, and what has unseen characters [UNK].",
    )
    vocab_size: int = Field(ge=257, le=1_048_576, description="Tokens of the vocabulary.")
    special_tokens: list[Annotated[str, StringConstraints(min_length=1, max_length=128)]] = Field(
        default_factory=lambda: ["<|begin_of_text|>", "<|end_of_text|>"],
        min_length=2,
        max_length=64,
        description="Special tokens; the first begins a text, the second ends a document.",
        json_schema_extra={**ATOMIC_LIST, "default": ["<|begin_of_text|>", "<|end_of_text|>"]},
    )


class Tokenizer(SpecModel):
    """The tokenizer: trained here, or given. Data for a model that exists needs the one of its data."""

    model_config = with_rules(exactly_one_of("train", "uri", "datasetRef"))

    train: TokenizerTraining | None = Field(default=None, description="Train one on the text.")
    uri: StorageUri | None = Field(
        default=None,
        description="An existing tokenizer, s3://bucket/.../tokenizer.json, or a dataset's manifest.json.",
    )
    dataset_ref: LocalReference | None = Field(
        default=None,
        description="DeepSeekDataset of the namespace whose tokenizer is taken, once it is ready.",
    )


class ImageAugmentation(SpecModel):
    """Copies of each record with images, of which each image is turned and cropped by chance. The shards mark
    them, and they are on their originals' side of the held-out split."""

    copies: int = Field(default=1, ge=1, le=8, description="Copies of each record.")
    max_rotation_degrees: Decimal = Field(
        default="10",
        description="Degrees that an image is turned either way, at most 180.",
    )
    min_crop_share: Decimal = Field(
        default="0.8", description="Share of each side that stays, at least; 1: no cropping."
    )
    seed: int = Field(default=0, ge=0, le=10**9, description="Of the choice of angles and places.")


class Images(SpecModel):
    """What becomes of the images of sources in format image-text: RGB squares, cut into patches."""

    model_config = with_rules(
        rule(
            "self.imageSize % self.patchSize == 0",
            "must be divided by patchSize: use 224 with patches of 16 or 14, or 384 with 16",
            field_path=".imageSize",
        )
    )

    image_token: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        default="<|image|>",
        description="Special token of the tokenizer that stands in a text where an image is.",
    )
    image_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=224, description="Pixels of a side that each image is scaled to."
    )
    patch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=16, description="Pixels of a patch's side; a patch is a token."
    )
    augment: ImageAugmentation | None = Field(
        default=None, description="Add copies with turned and cropped images. Absent: none."
    )


class DatasetSpec(SpecModel):
    """Which text to prepare, how, and where to write it."""

    model_config = with_rules(
        *(immutable(name) for name in ("sources", "sourceStorage", "tokenizer", "chatTemplate", "images")),
        *(
            immutable(name)
            for name in ("deduplicate", "heldOutFraction", "shardTokens", "maxBadRecords", "storage")
        ),
        *(immutable(name) for name in ("normalization", "recipe", "pipeline")),
        *(immutable(name) for name in ("image", "imagePullPolicy", "imagePullSecrets")),
        immutable("workers.numNodes"),
        *placement_changes_only_while_suspended("workers"),
        *placement_changes_only_while_suspended("coordinator"),
        rule(
            "self.sources.all(s, s.format == 'chat') || !self.sources.exists(s, s.format == 'chat')",
            "format chat and others: prepare conversations as a dataset of their own",
            field_path=".sources",
        ),
        rule(
            "self.sources.all(s, s.format == 'image-text')"
            " || !self.sources.exists(s, s.format == 'image-text')",
            "format image-text and others: prepare texts with images as a dataset of their own",
            field_path=".sources",
        ),
        rule(
            "!self.sources.exists(s, s.format in ['chat', 'image-text']) || !has(self.tokenizer.train)",
            "conversations and images are prepared in the tokens of a model that exists: name its tokenizer "
            "by uri or datasetRef",
            field_path=".tokenizer",
        ),
        rule(
            "self.sources.exists(s, s.format in ['chat', 'image-text']) || !has(self.chatTemplate)",
            "belongs to sources of format chat or image-text",
            field_path=".chatTemplate",
        ),
        rule(
            "self.sources.exists(s, s.format == 'image-text') || !has(self.images)",
            "belongs to sources of format image-text",
            field_path=".images",
        ),
        rule(
            "!has(self.pipeline) || self.recipe == 'none'",
            "give a recipe or a pipeline of your own, not both",
            field_path=".recipe",
        ),
        rule(
            "!self.sources.exists(s, s.format in ['chat', 'image-text'])"
            " || (!has(self.pipeline) && self.recipe == 'none')",
            "stages are for text: conversations and images are prepared without recipe and pipeline",
            field_path=".pipeline",
        ),
        rule(
            "self.workers.resources.gpu == 0",
            "a dataset is prepared on CPU: set workers.resources.gpu to 0",
            field_path=".workers.resources.gpu",
        ),
    )

    suspend: bool = Field(
        default=False, description="true: free the nodes. false: go on from the finished shards."
    )
    image: Image | None = Field(
        default=None, description="Image of the pods; absent is the operator's default worker image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When nodes pull the image."
    )
    image_pull_secrets: list[LocalReference] = Field(
        default_factory=list,
        max_length=4,
        description="Secrets to pull the image with.",
        json_schema_extra=list_map("name"),
    )
    sources: list[RawSource] = Field(
        min_length=1, max_length=32, description="Raw text.", json_schema_extra=list_map("name")
    )
    source_storage: StorageLocation | None = Field(
        default=None, description="S3 service of the sources; absent is that of spec.storage."
    )
    tokenizer: Tokenizer = Field(description="The tokenizer: trained here, or given.")
    chat_template: Annotated[str, StringConstraints(min_length=1, max_length=32_768)] | None = Field(
        default=None,
        description="Jinja template that makes text of messages, for sources of format chat; it travels with "
        "the tokenizer to the models. Absent: a line a message, answers end with the end of a text.",
    )
    images: Images | None = Field(
        default=None,
        description="What becomes of images, for sources of format image-text. Absent: the defaults.",
    )
    normalization: Literal["none", "nfc", "nfkc"] = Field(
        default="nfc", description="Unicode normalization of the text."
    )
    deduplicate: bool = Field(
        default=True,
        description="Drop documents that are equal to an earlier one; without recipe and pipeline.",
    )
    recipe: Literal["none", "web"] = Field(
        default="none",
        description="web: the default pipeline for text from the web: encoding, language, Gopher, "
        "repetition, FineWeb, PII, exact and near duplicates.",
    )
    pipeline: list[PipelineStage] | None = Field(
        default=None,
        min_length=1,
        max_length=24,
        description="Stages between reading and tokenizing, in order.",
        json_schema_extra=list_map("name"),
    )
    held_out_fraction: Fraction = Field(
        default="0.01", description="Share of the documents kept for evaluation; below 0.5."
    )
    shard_tokens: int = Field(
        default=8_388_608, ge=1024, le=1_073_741_824, description="Tokens of a shard at most, about."
    )
    max_bad_records: CountOrPercentage = Field(
        default=0,
        description="Records that may be unreadable before preparation fails: a number, or a share of all "
        "that are read, for instance 1%.",
    )
    drift_check: DriftCheck | None = Field(
        default=None, description="Compare new raw data with the dataset, once it is prepared."
    )
    workers: Workers = Field(default=Workers(), description="The pods that prepare.")
    coordinator: Coordinator = Field(default=Coordinator(), description="The pod that leads.")
    storage: Storage = Field(description="Where the dataset is written.")
    run_policy: RunPolicy = Field(default=RunPolicy(), description="Limits of the run in failures and time.")


class StageStatus(StatusModel):
    """One stage of preparation."""

    name: ShortText = Field(description="Name of the stage.")
    done: int = Field(default=0, description="Shards done.")
    total: int = Field(default=0, description="Shards in all.")


class DatasetStatus(RunStatus):
    """How preparation is doing, and what came of it."""

    stage: ShortText = Field(default="", description="Stage in progress.")
    progress: ShortText = Field(default="", description="Share of the stage done, for instance 37%.")
    stages: list[StageStatus] = Field(
        default_factory=list, max_length=128, description="All stages.", json_schema_extra=list_map("name")
    )
    uri: UriText = Field(default="", description="Where the dataset lies.")
    digest: ShortText = Field(default="", description="sha256 of the manifest.")
    short_digest: ShortText = Field(default="", description="First 12 digits of the digest.")
    report_digest: ShortText = Field(
        default="", description="sha256 of report.json, which the manifest names: what each stage did."
    )
    documents: int | None = Field(default=None, description="Documents of the dataset.")
    tokens: int | None = Field(default=None, description="Tokens of the dataset.")
    vocab_size: int | None = Field(default=None, description="Tokens of the tokenizer.")
    statistics: list[NamedValue] = Field(
        default_factory=list,
        max_length=64,
        description="Statistics of the dataset.",
        json_schema_extra=list_map("name"),
    )
    drift_check: DriftCheckStatus | None = Field(
        default=None, description="How new raw data compare with the dataset."
    )


class DeepSeekDataset(Resource):
    """Prepares text from S3: normalizes, deduplicates, tokenizes, and writes shards with a manifest."""

    model_config = with_rules(*NAME_RULES)

    kind: Literal["DeepSeekDataset"] = "DeepSeekDataset"
    spec: DatasetSpec = Field(description="Which text to prepare, how, and where to write it.")
    status: DatasetStatus = Field(
        default_factory=DatasetStatus, description="How preparation is doing, and what came of it."
    )
