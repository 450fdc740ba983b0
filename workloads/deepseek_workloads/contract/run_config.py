"""What a pod set is asked to do: rendered once by the operator, pinned by its hash, read by every process.

Everything is resolved: presets are expanded, dataset references have become URIs with digests, tokens have
become steps. It holds no secret. It does not know Kubernetes objects.
"""

from math import floor
from typing import Annotated, Final, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.monitoring import Alerts, Monitoring
from deepseek_workloads.contract.objective import Consolidation, CurriculumStage, Lora, Pruning, Quantisation
from deepseek_workloads.contract.optimization import Optimizer, PrecisionOverride, Schedule
from deepseek_workloads.contract.pipeline import PipelineStage, makes_copies_early
from deepseek_workloads.contract.retention import KeepBest, Retention
from deepseek_workloads.contract.sample_order import MixtureStage, SampleRange
from deepseek_workloads.contract.wire import WireModel

SCHEMA_VERSION: Final = 1


class Owner(WireModel):
    """The resource that asked for the run; its uid is the first link of provenance."""

    namespace: str
    name: str
    uid: str
    generation: int = 1


class Storage(WireModel):
    """An object-store prefix. Credentials come from the environment."""

    uri: str  # s3://bucket/prefix, pvc://claim/folder or file:///path
    endpoint_url: str | None = None
    region: str = "us-east-1"


class InitialExport(Storage):
    """An export to start from: weights and tokenizer. `uri` is the export's own prefix."""

    digest: str | None = None  # sha256:... of its manifest; None: only its URI is known


class Source(WireModel):
    """A prepared dataset (a manifest and its token shards)."""

    name: str
    storage: Storage
    digest: str | None = None  # sha256:... of the manifest; None: taken as found, and recorded
    weight: float = Field(default=1.0, gt=0)
    max_epochs: float | None = Field(default=None, gt=0)  # None: it begins anew as often as it takes


class Data(WireModel):
    sources: list[Source] = Field(min_length=1)
    sequence_length: int = Field(ge=2)  # tokens a sample that the model sees; a sample reads one token more
    seed: int = 0
    mixture: list[MixtureStage] | None = Field(default=None, max_length=64)  # by rising samples; None: none
    cache_bytes: int | None = Field(default=None, ge=1)  # of a worker's disk, for blocks; None: none
    skip: list[SampleRange] | None = Field(default=None, max_length=64)  # rising, and apart; None: none
    packing: Literal["bucketed"] | None = None  # of conversations; None: packed
    long_conversations: Literal["drop", "refuse"] | None = None  # beyond sequence_length; None: they are cut
    document_mask: bool | None = None  # attention stays within the documents of running text; None: no


ModelPart = Literal["visionTower", "projector", "languageModel"]
PipelineSchedule = Literal["1F1B", "Interleaved1F1B", "ZBVZeroBubble", "DualPipeV"]


class Parallelism(WireModel):
    """Data parallelism takes the processes that the other degrees leave."""

    zero_stage: Literal[0, 1, 2, 3] = 2  # 0: replicas (DDP, Horovod); 1-3: FSDP2
    cpu_offload: bool = False  # shards of weights, gradients and optimizer states in host memory
    data_parallel_replicate_degree: int = Field(default=1, ge=1)  # copies of the shards (HSDP)
    expert_parallel_degree: int = Field(default=1, ge=1)
    tensor_parallel_degree: int = Field(default=1, ge=1)
    pipeline_parallel_degree: int = Field(default=1, ge=1)
    pipeline_parallel_schedule: PipelineSchedule = "1F1B"
    context_parallel_degree: int = Field(default=1, ge=1)


class Horovod(WireModel):
    """How gradients travel; of backend horovod only."""

    compression: Literal["none", "fp16"] = "none"


class TeacherLogitsLocation(Storage):
    """`uri`: a prefix with teacher-logits.json."""

    digest: str | None = None  # sha256:... of that; None: taken as found


class Distillation(WireModel):
    """alpha * T^2 * KL(teacher || student) at temperature T + (1 - alpha) * cross-entropy. Exactly one of the
    teacher, which runs beside, and what it foresees, stored."""

    teacher: InitialExport | None = None
    teacher_logits: TeacherLogitsLocation | None = None
    alpha: float = Field(default=0.7, ge=0, le=1)
    temperature: float = Field(default=2, gt=0)


class Training(WireModel):
    objective: Literal["pretrain", "sft"] = "pretrain"
    freeze: list[ModelPart] | None = Field(default=None, max_length=3)  # what stays as it is; None: nothing
    lora: Lora | None = None  # None: all weights are trained
    quantisation: Quantisation | None = None
    pruning: Pruning | None = None
    consolidation: Consolidation | None = None
    distillation: Distillation | None = None
    curriculum: list[CurriculumStage] = Field(default_factory=list, max_length=16)  # by rising steps
    entrypoint: str | None = None  # module:function of the user's image, in place of the loop
    loss_function: str | None = None  # likewise, in place of the cross-entropy
    steps: int = Field(ge=1)
    global_batch_size: int = Field(ge=1)  # sequences; accumulation absorbs the world size
    micro_batch_size: int | None = Field(default=None, ge=1)  # sequences a rank and pass; None: chosen
    find_micro_batch_size: bool | None = None  # by measured passes before the first step; None: no
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16", "fp16", "fp8"] = "fp32"  # the spec's `auto` is resolved before
    precision_overrides: list[PrecisionOverride] = Field(default_factory=list, max_length=16)
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    compile: Literal["auto", "always"] | None = None  # of layers; None: never
    parallelism: Parallelism = Parallelism()
    gradient_clip_norm: float = Field(default=1.0, gt=0)
    deterministic: bool = False
    horovod: Horovod | None = None  # None: its defaults, or another backend


class Checkpoint(WireModel):
    every_steps: int = Field(default=100, ge=1)
    keep_last: int = Field(default=3, ge=1)
    keep_every: int | None = Field(default=None, ge=1)
    keep_best: KeepBest | None = None
    mode: Literal["async", "sync"] = "sync"  # whether training goes on while a checkpoint is uploaded
    memory_replicas: int | None = Field(default=None, ge=1, le=2)  # pods that hold each file; None: none does

    @property
    def retention(self) -> Retention:
        """`Control` brings newer ones."""
        return Retention(keep_last=self.keep_last, keep_every=self.keep_every, keep_best=self.keep_best)


class Evaluation(WireModel):
    every_steps: int | None = Field(default=None, ge=1)  # None: at the end only
    max_samples: int = Field(default=64, ge=1)  # sequences of the held-out split
    answers: int | None = Field(default=None, ge=1)  # held-out conversations that the model answers; None: 0
    prompts: list[str] = Field(default_factory=list, max_length=8)
    sources: list[Source] | None = Field(default=None, max_length=4)  # beside the held-out split; None: none


class Workers(WireModel):
    num_nodes: int = Field(ge=1)
    num_proc_per_node: int = Field(default=1, ge=1)
    min_nodes: int = Field(default=1, ge=1)
    cpus_per_node: float = Field(default=1.0, gt=0)
    gpus_per_node: int = Field(default=0, ge=0)
    gpu_product: str | None = None  # that the nodes were chosen by; None: any
    memory_bytes: int | None = Field(default=None, ge=1)  # the limit of a worker pod

    @property
    def world_size(self) -> int:
        return self.num_nodes * self.num_proc_per_node


class RunPolicy(WireModel):
    backoff_limit: int = Field(default=3, ge=0)  # restarts of the driver after failures of the user's run
    startup_deadline_seconds: int = Field(default=600, ge=1)
    drain_seconds: int = Field(default=25, ge=0)  # below the pods' grace period


class TrainingRun(WireModel):
    kind: Literal["training"] = "training"
    schema_version: Literal[1] = SCHEMA_VERSION
    owner: Owner
    backend: Literal["ray", "horovod"] = "ray"
    architecture: Architecture
    model_function: str | None = None  # module:function of the user's image, in place of our model
    init_from: InitialExport | None = None
    vision_init_from: InitialExport | None = None  # a Hugging Face ViT folder; None: random, or of init_from
    data: Data
    training: Training
    checkpoint: Checkpoint = Checkpoint()
    evaluation: Evaluation = Evaluation()
    monitoring: Monitoring = Monitoring()
    alerts: Alerts = Alerts()  # `Control` brings newer ones
    workers: Workers
    storage: Storage
    run_policy: RunPolicy = RunPolicy()

    @property
    def masks_documents(self) -> bool:
        """Whether attention stays within the documents of a row."""
        if self.training.objective == "sft":
            return self.data.packing is None
        return bool(self.data.document_mask)


STRUCTURED_FORMATS: Final = ("jsonl", "parquet", "webdataset")
_APART: Final = ("chat", "image-text")  # whose documents make a dataset of their own


class TokenizerTraining(WireModel):
    kind: Literal["byteLevelBPE", "wordPiece"] = "byteLevelBPE"
    vocab_size: int = Field(ge=257)
    special_tokens: list[str] = Field(default_factory=lambda: ["<|begin_of_text|>", "<|end_of_text|>"])


class RawSource(WireModel):
    """Raw objects: every object below the prefix that matches `include` and not `exclude` (fnmatch). What
    ends with .gz or .zst is decompressed. Lines of `chat` have `messages`, a list of {role, content}; those
    of `image-text` have them or a text, and `images`, keys below the prefix."""

    name: str
    uri: str
    format: Literal["text", "jsonl", "chat", "image-text", "parquet", "webdataset", "html"] = "text"
    text_field: str = "text"  # of a JSON line, a row, a sample
    template: str | None = None  # Jinja over the fields of a record, in place of text_field
    include: list[str] = Field(default_factory=lambda: ["*"])
    exclude: list[str] = Field(default_factory=list)
    # Of `image-text`: which of these are captions, each of the image of the same name beside it.
    captions: list[str] | None = None

    @model_validator(mode="after")
    def _lines_alone(self) -> Self:
        if self.format == "image-text" and "*" in self.include:
            raise ValueError(
                "include '*' of format image-text would read images as lines: use patterns that match the "
                "lines only, such as *.jsonl"
            )
        return self

    @model_validator(mode="after")
    def _has_fields_to_render(self) -> Self:
        if self.template is not None and self.format not in STRUCTURED_FORMATS:
            formats = ", ".join(STRUCTURED_FORMATS)
            raise ValueError(f"template: belongs to records with fields: use it with format {formats}")
        return self


class ImageSettings(WireModel):
    """What becomes of the images of an image-text dataset. `patch_size` divides `image_size`."""

    image_token: str = Field(default="<|image|>", min_length=1)  # a special token of the tokenizer
    image_size: int = Field(default=224, ge=1, le=4096)  # pixels of a side that each image is scaled to
    patch_size: int = Field(default=16, ge=1, le=4096)  # pixels of a side

    @property
    def image_bytes(self) -> int:
        """Of one image, as it is stored."""
        return 3 * self.image_size**2


class ImageAugmentation(WireModel):
    """Copies of each record with images, of which each image is turned and cropped by chance."""

    copies: int = Field(default=1, ge=1, le=8)
    max_rotation_degrees: float = Field(default=10, ge=0, le=180)  # either way
    min_crop_share: float = Field(default=0.8, gt=0, le=1)  # of each side that stays, at least
    seed: int = Field(default=0, ge=0)


class DatasetRun(WireModel):
    kind: Literal["dataset"] = "dataset"
    schema_version: Literal[1] = SCHEMA_VERSION
    owner: Owner
    raw_sources: list[RawSource] = Field(min_length=1)
    raw_storage: Storage  # endpoint and region of the raw sources
    tokenizer: TokenizerTraining | None = None  # exactly one of tokenizer and tokenizer_uri
    tokenizer_uri: str | None = None  # a tokenizer.json, or the manifest.json of a dataset that has one
    chat_template: str | None = None  # Jinja, of sources in format chat; None: a plain one
    images: ImageSettings | None = None  # of sources in format image-text; None: the defaults
    image_augmentation: ImageAugmentation | None = None  # of sources in format image-text
    normalization: Literal["none", "nfc", "nfkc"] = "nfc"
    deduplicate: bool = True  # where there is no pipeline
    pipeline: list[PipelineStage] | None = Field(default=None, min_length=1, max_length=24)
    held_out_fraction: float = Field(default=0.01, ge=0, lt=0.5)
    shard_tokens: int = Field(default=8_388_608, ge=1024)
    max_bad_records: int = Field(default=0, ge=0)
    max_bad_share: float | None = Field(default=None, ge=0, le=1)  # of all records, in place of the number
    workers: Workers
    storage: Storage
    run_policy: RunPolicy = RunPolicy()

    @property
    def conversations(self) -> bool:
        """Whether its documents are messages; a dataset has one kind of documents only."""
        return self.raw_sources[0].format == "chat"

    def bad_records_allowed(self, *, of: int) -> int:
        """`of`: the records that were read, bad ones included."""
        return (
            self.max_bad_records if self.max_bad_share is None else floor(self.max_bad_share * of + 1e-6)
        )  # 0.29 * 100 is a little less than 29

    @property
    def with_images(self) -> bool:
        """Whether its documents are texts or messages with images."""
        return self.raw_sources[0].format == "image-text"

    @property
    def image_settings(self) -> ImageSettings:
        return self.images or ImageSettings()

    @property
    def marks_predicted(self) -> bool:
        """Whether its shards say of each token if it is to be predicted."""
        return self.conversations or self.with_images

    @model_validator(mode="after")
    def _stages_have_names_of_their_own(self) -> Self:
        names = [stage.name for stage in self.pipeline or ()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"pipeline: {', '.join(repeated)}: name each stage differently")
        if self.pipeline and self.marks_predicted:
            raise ValueError(
                "pipeline: its stages are for text: leave it out for sources of format chat or image-text"
            )
        return self

    @model_validator(mode="after")
    def _copies_are_made_last(self) -> Self:
        early = makes_copies_early(self.pipeline or [])
        if early is not None:
            raise ValueError(
                f"pipeline: {early.name}: makes copies, which a stage after it would tell from their "
                "originals no more: move it to the end; only stages that make copies may follow"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_documents(self) -> Self:
        kinds = {source.format if source.format in _APART else "text" for source in self.raw_sources}
        if len(kinds) > 1:
            raise ValueError(
                f"sources: formats {' and '.join(sorted(kinds))}: prepare conversations, and texts with "
                "images, each as a dataset of their own"
            )
        if self.marks_predicted and self.tokenizer is not None:
            raise ValueError(
                "tokenizer.train: conversations and images are prepared in the tokens of a model that "
                "exists: name its tokenizer by tokenizer.uri or tokenizer.datasetRef"
            )
        images = self.image_settings
        if images.image_size % images.patch_size:
            raise ValueError(
                f"images.patchSize: {images.patch_size}: must divide imageSize ({images.image_size}): use "
                f"patches of 16 and images of {_near(images)}"
            )
        return self


def _near(images: ImageSettings) -> int:
    """The nearest size of images that patches of 16 divide."""
    return max(1, round(images.image_size / 16)) * 16


class ServedRevision(WireModel):
    """The export that a serving run answers with; `storage.uri` is the export's own prefix."""

    name: str
    uid: str
    storage: Storage
    digest: str  # sha256:... of the export's manifest


class Engine(WireModel):
    max_model_len: int | None = Field(default=None, ge=1)  # tokens of prompt and answer; None: the model's
    max_num_seqs: int = Field(default=32, ge=1)  # sequences decoded together
    batch_wait_ms: int = Field(default=50, ge=0)  # how long an idle engine waits for company
    max_queued_requests: int = Field(default=256, ge=1)  # of a replica; what comes beyond is answered 429
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0  # of requests that bring none


class CheckBaseline(WireModel):
    """The active revision, and what it reached on the held-out text of its own export."""

    storage: Storage
    digest: str
    bits_per_byte: float = Field(gt=0)


class ServingCheck(WireModel):
    """What a revision has to pass before it gets its first request."""

    prompts: list[str] = Field(default_factory=list, max_length=8)
    baseline: CheckBaseline | None = None
    max_bits_per_byte_increase: float = Field(default=0.05, ge=0)  # on the baseline's text


class ServingRun(WireModel):
    """One Ray cluster that serves one revision. The number of replicas is the number of worker pods, which
    may change while it runs."""

    kind: Literal["serving"] = "serving"
    schema_version: Literal[1] = SCHEMA_VERSION
    owner: Owner
    served_model_name: str  # `model` of the API
    revision: ServedRevision
    engine: Engine = Engine()
    check: ServingCheck = ServingCheck()
    proxy: Literal["python", "haproxy"] = "python"
    require_api_key: bool = False  # keys are files of API_KEYS_DIR
    workers: Workers
    run_policy: RunPolicy = RunPolicy()

    @property
    def storage(self) -> Storage:
        return self.revision.storage


AnyRun = TrainingRun | DatasetRun | ServingRun
Run = Annotated[AnyRun, Field(discriminator="kind")]
_RUN: TypeAdapter[AnyRun] = TypeAdapter(Run)


def parse_run(document: bytes | str) -> AnyRun:
    """Raises pydantic.ValidationError when the document is no run config of this schema version."""
    return _RUN.validate_json(document)
