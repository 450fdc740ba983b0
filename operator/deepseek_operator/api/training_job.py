"""DeepSeekTrainingJob: train a model on a pool of nodes.

It does not know the rules that need arithmetic (`validation`, `plan.rules`).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.architecture import ArchitectureOverrides
from deepseek_operator.api.meta import NAME_RULES, Resource
from deepseek_operator.api.monitoring import Alerts, Monitoring
from deepseek_operator.api.objective import Consolidation, CurriculumStage, Lora, Pruning, Quantisation
from deepseek_operator.api.optimization import Optimizer, PrecisionOverride, Schedule
from deepseek_operator.api.pods import Coordinator, RunPolicy, Workers, placement_changes_only_while_suspended
from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    SET_LIST,
    Decimal,
    DnsLabel,
    Entrypoint,
    Image,
    SpecModel,
    StorageUri,
    exactly_one_of,
    immutable,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference, Storage
from deepseek_operator.api.training_data import Data
from deepseek_operator.api.training_job_status import TrainingJobStatus
from deepseek_operator.api.vision import Vision


class InitFrom(SpecModel):
    """An export: its weights. The optimizer, the schedule and the steps begin anew."""

    model_config = with_rules(exactly_one_of("revisionRef", "modelName", "storageUri"))

    revision_ref: LocalReference | None = Field(
        default=None,
        description="DeepSeekModelRevision of the namespace; the job waits until it exists.",
    )
    model_name: DnsLabel | None = Field(
        default=None,
        description="The newest DeepSeekModelRevision whose spec.modelName is this, at the job's start.",
    )
    storage_uri: StorageUri | None = Field(
        default=None, description="Prefix of an export (.../exports/sha256-...), or of a Hugging Face folder."
    )


class Model(SpecModel):
    """What is trained."""

    preset: DnsLabel = Field(
        description=(
            "Named architecture: transformer-5m, moe-30m, deepseek-v3-tiny, -small, -128m, -1b, -16b, -236b, "
            "deepseek-v3 itself (671B) or deepseek-v32."
        ),
    )
    architecture: ArchitectureOverrides | None = Field(
        default=None, description="Fields of the preset to change."
    )
    init_from: InitFrom | None = Field(
        default=None,
        description="Weights to start from, of a model of this architecture and the data's tokenizer.",
    )
    vision: Vision | None = Field(
        default=None,
        description="An image encoder before the model, for datasets of format image-text; docs/models.md.",
    )

    def to_overrides(self) -> dict[str, Any]:
        """Of the preset, as `plan.architecture.resolve` takes them."""
        overrides = self.architecture.to_overrides() if self.architecture is not None else {}
        return overrides if self.vision is None else {**overrides, "vision": self.vision.to_overrides()}


class Parallelism(SpecModel):
    """How the model is laid out over the processes."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] | None = Field(
        default=None,
        description="0: replicas (DDP, Horovod). 1 to 3: sharded optimizer, gradients, weights (FSDP2). "
        "Absent: 2, or 0 with backend horovod.",
    )
    cpu_offload: bool = Field(
        default=False,
        description="Keep shards of weights and optimizer states in host memory: GPUs with little memory.",
    )
    data_parallel_replicate_degree: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="Copies of the shards (HSDP): shards lie within a copy, gradients are averaged over all.",
    )
    expert_parallel_degree: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="Processes sharing the experts, out of those that the other degrees use.",
    )
    tensor_parallel_degree: int = Field(
        default=1, ge=1, le=4096, description="Processes sharing each matrix."
    )
    pipeline_parallel_degree: int = Field(
        default=1, ge=1, le=4096, description="Processes through which the layers are spread."
    )
    pipeline_parallel_schedule: Literal["1F1B", "Interleaved1F1B", "ZBVZeroBubble", "DualPipeV"] = Field(
        default="1F1B",
        description="Order of the micro-batches. All but 1F1B give each process two stages of layers.",
    )
    context_parallel_degree: int = Field(
        default=1, ge=1, le=4096, description="Processes sharing each sequence."
    )


class Horovod(SpecModel):
    """How Horovod carries gradients."""

    compression: Literal["none", "fp16"] = Field(
        default="none",
        description="fp16: half the bytes, rounded; it pays where the network is slower than the processors.",
    )


class Distillation(SpecModel):
    """alpha * T^2 * KL at temperature T + (1 - alpha) * cross-entropy, against a teacher that runs beside."""

    teacher: InitFrom = Field(description="The model to learn from: any size, the data's tokenizer.")
    alpha: Decimal = Field(default="0.7", description="Share of the teacher in the loss; at most 1.")
    temperature: Decimal = Field(default="2", description="Softens both models' probabilities.")


ModelPart = Literal["visionTower", "projector", "languageModel"]


class Training(SpecModel):
    """How long and how to train."""

    model_config = with_rules(exactly_one_of("tokens", "steps"))

    objective: Literal["pretrain", "sft"] = Field(
        default="pretrain",
        description="pretrain: predict every next token. sft: learn the answers of conversations, from "
        "datasets of format chat, or words beside images, from those of format image-text.",
    )
    freeze: Annotated[list[ModelPart], Field(max_length=3)] | None = Field(
        default=None,
        description="Parts of a model with model.vision that stay as they are.",
        json_schema_extra=SET_LIST,
    )
    lora: Lora | None = Field(
        default=None,
        description="Train small matrices beside the frozen ones of model.initFrom; merged at the export.",
    )
    quantisation: Quantisation | None = Field(
        default=None, description="Train for a quantised model: matrices are rounded in every pass."
    )
    pruning: Pruning | None = Field(
        default=None, description="Close the inner channels of gated networks that weigh least."
    )
    consolidation: Consolidation | None = Field(
        default=None, description="Keep what model.initFrom has learnt of older data."
    )
    distillation: Distillation | None = Field(
        default=None, description="Learn from another model's probabilities, too."
    )
    curriculum: list[CurriculumStage] = Field(
        default_factory=list,
        max_length=16,
        description="Shorter sequences first, by rising steps; after the last stage they are whole.",
        json_schema_extra=ATOMIC_LIST,
    )
    entrypoint: Entrypoint | None = Field(
        default=None,
        description="module:function of spec.image that trains in place of the built-in loop; "
        "docs/custom-training.md.",
    )
    global_batch_size: int = Field(
        ge=1,
        le=1_048_576,
        description="Sequences of a step over all processes; gradient accumulation absorbs the world size.",
    )
    micro_batch_size: int | None = Field(
        default=None, ge=1, le=65_536, description="Sequences of one pass of a process; absent is chosen."
    )
    tokens: int | None = Field(
        default=None, ge=1, le=10**15, description="Tokens to train on, rounded up to whole steps."
    )
    steps: int | None = Field(default=None, ge=1, le=10**9, description="Steps to train.")
    optimizer: Optimizer = Field(default=Optimizer(), description="How weights are changed.")
    schedule: Schedule = Field(default=Schedule(), description="The learning rate over the steps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Numbers of the matrix products. auto: bf16 on GPUs, fp32 on CPU. fp16 scales the loss.",
    )
    precision_overrides: list[PrecisionOverride] = Field(
        default_factory=list,
        max_length=16,
        description="Modules whose numbers are others.",
        json_schema_extra=list_map("modules"),
    )
    activation_checkpointing: Literal["none", "selective", "full"] = Field(
        default="none",
        description="Less memory for more computation. full: layers are computed twice; selective: all but "
        "their products and attention.",
    )
    parallelism: Parallelism = Field(
        default=Parallelism(), description="How the model is laid out over the processes."
    )
    gradient_clip_norm: Decimal = Field(default="1.0", description="Largest norm of a step's gradient.")
    deterministic: bool = Field(
        default=False, description="Refuse operations whose result may differ between runs; slower."
    )
    horovod: Horovod | None = Field(
        default=None, description="How Horovod carries gradients; of backend horovod only."
    )


class Checkpoint(SpecModel):
    """What is kept to go on from."""

    every_steps: int = Field(default=100, ge=1, le=10**9, description="Steps between two checkpoints.")
    keep_last: int = Field(default=3, ge=1, le=1000, description="Newest checkpoints that are kept.")


class Evaluation(SpecModel):
    """How the model is measured on held-out text; at the end it always is."""

    every_steps: int | None = Field(
        default=None, ge=1, le=10**9, description="Steps between two evaluations; absent is at the end only."
    )
    max_samples: int = Field(default=64, ge=1, le=1_000_000, description="Held-out sequences to use.")
    prompts: list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]] = Field(
        default_factory=list,
        max_length=8,
        description="Texts that the model continues at each evaluation.",
        json_schema_extra=ATOMIC_LIST,
    )


class Rollout(SpecModel):
    """What becomes of the model."""

    service_ref: LocalReference = Field(
        description="DeepSeekModelService that considers the job's DeepSeekModelRevision."
    )


class TrainingJobSpec(SpecModel):
    """What to train, on what, where, and for how long."""

    model_config = with_rules(
        *(immutable(name) for name in ("backend", "model", "data", "training", "checkpoint", "evaluation")),
        *(
            immutable(name)
            for name in ("monitoring", "storage", "rollout", "image", "imagePullPolicy", "imagePullSecrets")
        ),
        *placement_changes_only_while_suspended("workers"),
        *placement_changes_only_while_suspended("coordinator"),
        rule(
            "self.backend != 'horovod' || ((!has(self.training.parallelism.zeroStage)"
            " || self.training.parallelism.zeroStage == 0)"
            " && self.training.parallelism.expertParallelDegree == 1"
            " && self.training.parallelism.tensorParallelDegree == 1"
            " && self.training.parallelism.pipelineParallelDegree == 1"
            " && self.training.parallelism.contextParallelDegree == 1"
            " && self.training.parallelism.dataParallelReplicateDegree == 1)",
            "backend horovod is data-parallel only: set zeroStage 0 and every degree 1, or use backend ray",
            field_path=".backend",
        ),
        rule(
            "self.backend == 'horovod' || !has(self.training.horovod)",
            "belongs to backend horovod: remove it, or use that backend",
            field_path=".training.horovod",
        ),
    )

    backend: Literal["ray", "horovod"] = Field(
        default="ray", description="What starts and joins the processes: Ray Train, or Horovod."
    )
    suspend: bool = Field(
        default=False, description="true: write a checkpoint and free the nodes. false: go on from it."
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
    model: Model = Field(description="What is trained.")
    data: Data = Field(description="What the model reads.")
    training: Training = Field(description="How long and how to train.")
    checkpoint: Checkpoint = Field(default=Checkpoint(), description="What is kept to go on from.")
    evaluation: Evaluation = Field(default=Evaluation(), description="How the model is measured.")
    monitoring: Monitoring = Field(
        default=Monitoring(), description="What is measured beside each step's figures."
    )
    alerts: Alerts = Field(
        default=Alerts(), description="Limits of a healthy run; they may be changed while it runs."
    )
    workers: Workers = Field(default=Workers(), description="The pods that train.")
    coordinator: Coordinator = Field(default=Coordinator(), description="The pod that leads; it has no GPU.")
    storage: Storage = Field(description="Where checkpoints, metrics and the model are written.")
    run_policy: RunPolicy = Field(default=RunPolicy(), description="Limits of the run in failures and time.")
    rollout: Rollout | None = Field(default=None, description="What becomes of the model.")


class DeepSeekTrainingJob(Resource):
    """Trains a DeepSeek-class model on a pool of nodes: data from S3, checkpoints and the model to S3."""

    model_config = with_rules(*NAME_RULES)

    kind: Literal["DeepSeekTrainingJob"] = "DeepSeekTrainingJob"
    spec: TrainingJobSpec = Field(description="What to train, on what, where, and for how long.")
    status: TrainingJobStatus = Field(default_factory=TrainingJobStatus, description="How the job is doing.")
