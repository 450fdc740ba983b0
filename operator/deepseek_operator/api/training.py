"""How a training job trains: the settings of its steps and of their layout over the processes.

It does not know the rules that need arithmetic (`validation`, `plan.rules`).
"""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.model import InitFrom
from deepseek_operator.api.objective import Consolidation, CurriculumStage, Lora, Pruning, Quantisation
from deepseek_operator.api.optimization import Optimizer, PrecisionOverride, Schedule
from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    SET_LIST,
    Decimal,
    Digest,
    Entrypoint,
    SpecModel,
    StorageUri,
    exactly_one_of,
    list_map,
    with_rules,
)

ModelPart = Literal["visionTower", "projector", "languageModel"]


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


class TeacherLogits(SpecModel):
    """What python -m deepseek_workloads.train.teacher_logits has written, for the data of data.sources."""

    uri: StorageUri = Field(description="Prefix of its teacher-logits.json, in the job's S3 service.")
    digest: Digest | None = Field(
        default=None, description="Of teacher-logits.json, as the command prints it; absent: as found."
    )


class Distillation(SpecModel):
    """alpha * T^2 * KL at temperature T + (1 - alpha) * cross-entropy, against a teacher that runs beside, or
    what it foresees, computed beforehand."""

    model_config = with_rules(exactly_one_of("teacher", "teacherLogits"))

    teacher: InitFrom | None = Field(
        default=None, description="The model to learn from: any size, the data's tokenizer."
    )
    teacher_logits: TeacherLogits | None = Field(
        default=None, description="Its most probable tokens at each position of the data; docs/training.md."
    )
    alpha: Decimal = Field(
        default="0.7", description="Share of the teacher in the loss, above 0 and at most 1."
    )
    temperature: Decimal = Field(default="2", description="Softens both models' probabilities.")


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
        default=None, description="Train for a quantised model, or quantise the trained one."
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
        description="Short or easy sequences first, by rising steps; after the last stage all, and whole.",
        json_schema_extra=ATOMIC_LIST,
    )
    entrypoint: Entrypoint | None = Field(
        default=None,
        description="module:function of spec.image that trains in place of the built-in loop; "
        "docs/custom-training.md.",
    )
    loss_function: Entrypoint | None = Field(
        default=None,
        description="module:function of spec.image in place of the cross-entropy; docs/custom-training.md.",
    )
    global_batch_size: int = Field(
        ge=1,
        le=1_048_576,
        description="Sequences of a step over all processes; gradient accumulation absorbs the world size.",
    )
    micro_batch_size: int | None = Field(
        default=None, ge=1, le=65_536, description="Sequences of one pass of a process; absent is chosen."
    )
    find_micro_batch_size: bool | None = Field(
        default=None,
        description="Whether passes are measured before the first step: microBatchSize becomes 80 % of the "
        "largest that fits a process's memory. On CPU it needs workers.resources.memory.",
    )
    tokens: int | None = Field(
        default=None, ge=1, le=10**15, description="Tokens to train on, rounded up to whole steps."
    )
    steps: int | None = Field(default=None, ge=1, le=10**9, description="Steps to train.")
    optimizer: Optimizer = Field(default=Optimizer(), description="How weights are changed.")
    schedule: Schedule = Field(default=Schedule(), description="The learning rate over the steps.")
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp8"] = Field(
        default="auto",
        description="Numbers of the matrix products. auto: bf16 on GPUs, fp32 on CPU. fp16 scales the "
        "loss. fp8: those of the layers in float8 with scales for rows, the rest in bf16; it needs GPUs of "
        "compute capability 9.0 or more.",
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
    compile: Literal["auto", "always", "never"] = Field(
        default="never",
        description="Whether layers run as kernels that torch.compile makes of them in the first steps. "
        "auto: on GPUs, where nothing is in the way; a CPU gains too little.",
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
