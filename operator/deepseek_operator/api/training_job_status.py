"""The status of a DeepSeekTrainingJob: how the job is doing.

It does not know how it is computed (`status.training_job`).
"""

from pydantic import Field

from deepseek_operator.api.meta import NamedValue, RunStatus, ShortText, UriText
from deepseek_operator.api.schema import ATOMIC_LIST, MAX_MEASUREMENTS, StatusModel, list_map


class PlanStatus(StatusModel):
    """What the job needs, computed before any pod exists."""

    parameters: int = Field(default=0, description="Weights of the model.")
    active_parameters: int = Field(default=0, description="Weights that one token passes.")
    flops_per_token: int = Field(
        default=0, description="Floating-point operations of training on one token, forward and backward."
    )
    total_steps: int = Field(default=0, description="Steps of the whole run.")
    total_tokens: int = Field(default=0, description="Tokens of the whole run.")
    world_size: int = Field(default=0, description="Processes that train.")
    micro_batch_size: int = Field(default=0, description="Sequences of one pass of a process.")
    accumulation_steps: int = Field(default=0, description="Passes of a process in one step.")
    precision: ShortText = Field(default="", description="Numbers of the matrix products.")
    memory_per_rank: ShortText = Field(default="", description="Estimated memory of a process.")
    memory_per_node: ShortText = Field(default="", description="Estimated memory of a worker pod.")
    estimated_tokens_per_second: int = Field(
        default=0,
        description="By a model fitted to published rates; where the node selector names a known GPU by "
        "nvidia.com/gpu.product.",
    )
    estimated_duration: ShortText = Field(default="", description="Of all steps at that rate.")
    smallest_gpu_pool: ShortText = Field(
        default="",
        description="Fewest GPUs, of the product in the node selector or of 80 GiB, that the model could be "
        "trained on by sharding weights and spreading experts, and how; or none.",
    )


class CheckpointStatus(StatusModel):
    """One durable checkpoint."""

    step: int = Field(description="Step after which it was taken.")
    epoch: int = Field(default=0, description="Epoch that wrote it.")
    created_at: ShortText = Field(default="", description="When it became durable.")
    size_bytes: int = Field(default=0, description="Size of its files.")
    log_index: int = Field(default=0, description="Index of its record in the commit log.")


class DatasetPin(StatusModel):
    """A dataset as the job took it."""

    name: ShortText = Field(description="Name of the source in spec.data.sources.")
    uri: UriText = Field(default="", description="Where it lies.")
    digest: ShortText = Field(default="", description="sha256 of its manifest.")


class ExportStatus(StatusModel):
    """The finished model."""

    uri: UriText = Field(default="", description="Where it lies.")
    digest: ShortText = Field(default="", description="sha256 of its manifest.")
    revision: ShortText = Field(default="", description="DeepSeekModelRevision that records it.")


class TrainingJobStatus(RunStatus):
    """How the job is doing."""

    plan: PlanStatus | None = Field(
        default=None, description="What the job needs, computed before any pod exists."
    )
    datasets: list[DatasetPin] = Field(
        default_factory=list,
        max_length=16,
        description="The datasets as the job took them.",
        json_schema_extra=list_map("name"),
    )
    nodes: int = Field(
        default=0,
        description="Worker pods that the run has or is being given; other than spec.workers.numNodes where "
        "condition Resized says why.",
    )
    reduced: bool = Field(
        default=False,
        description="Nodes were missing, so that the run has fewer than spec.workers.numNodes "
        "(spec.workers.minNodes); more are looked for.",
    )
    step: int = Field(default=0, description="Steps done.")
    total_steps: int = Field(default=0, description="Steps of the whole run.")
    progress: ShortText = Field(default="", description="Share of the steps done, for instance 37%.")
    tokens: int = Field(default=0, description="Tokens trained on.")
    loss: ShortText = Field(default="", description="Loss of the last step, in nats a token.")
    learning_rate: ShortText = Field(default="", description="Learning rate of the last step.")
    tokens_per_second: int | None = Field(default=None, description="Speed over all processes.")
    micro_batch_size: int | None = Field(
        default=None,
        description="Sequences of one pass of a process, as findMicroBatchSize found them.",
    )
    eta: ShortText = Field(default="", description="Time to the end of training, for instance 1h12m.")
    data_path: ShortText = Field(
        default="", description="What carries gradients between processes: gloo or nccl; empty for one."
    )
    last_checkpoint_step: int | None = Field(
        default=None,
        description="Step of the newest durable checkpoint.",
    )
    checkpoints: list[CheckpointStatus] = Field(
        default_factory=list,
        max_length=10,
        description="Newest durable checkpoints.",
        json_schema_extra=ATOMIC_LIST,
    )
    evaluation: list[NamedValue] = Field(
        default_factory=list,
        max_length=MAX_MEASUREMENTS,
        description="Newest measurements on held-out text.",
        json_schema_extra=list_map("name"),
    )
    export: ExportStatus | None = Field(default=None, description="The finished model.")
