"""What is watched of a training job while it runs, and what happens when it looks bad.

It does not know how anything is measured.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.schema import Decimal, EndpointUrl, SpecModel
from deepseek_operator.api.storage import LocalReference
from deepseek_workloads.contract.monitoring import ACTIVATION_RANGE_EVERY_STEPS

Action = Literal["ignore", "warn", "skip", "rollback", "stop"]
_ACTION = (
    "warn: an Event and a condition. skip: the step's update is not taken. rollback: back to an earlier "
    "checkpoint, on with the data after this batch. stop: the job fails."
)


class GradientNormAlert(SpecModel):
    """The norm of a step's gradient, before clipping."""

    threshold: Decimal = Field(default="10", description="Largest norm that is well.")
    action: Action = Field(default="warn", description=_ACTION)


class ActivationRangeAlert(SpecModel):
    """The largest absolute value that leaves a layer; see monitoring.activationRangeEverySteps."""

    threshold: Decimal = Field(default="15", description="Largest value that is well.")
    action: Action = Field(default="warn", description=_ACTION)


class MemoryAlert(SpecModel):
    """The memory of a process, of its GPU or of its pod's limit."""

    threshold: Decimal = Field(default="0.9", description="Largest share that is well, at most 1.")
    action: Literal["ignore", "warn", "stop"] = Field(default="warn", description=_ACTION)


class LossSpikeAlert(SpecModel):
    """The loss of a step against the median of the last 32."""

    threshold: Decimal = Field(default="2", description="Largest multiple that is well.")
    action: Action = Field(default="warn", description=_ACTION)


class ExpertLoadAlert(SpecModel):
    """The tokens of the experts of a layer against their mean: one that takes most, many that get none."""

    threshold: Decimal = Field(
        default="10", description="Largest multiple that is well; none is above experts / experts per token."
    )
    token_share: Decimal = Field(
        default="0.75",
        description="Largest share of its layer's tokens that one expert may take; 1 is never too large.",
    )
    idle_share: Decimal = Field(
        default="0.25",
        description="Largest share of a layer's experts that may get less than a hundredth of its mean in "
        "the last 32 steps; 1 is never too large. Not judged below 100 tokens an expert there.",
    )
    action: Action = Field(default="warn", description=_ACTION)


class NotANumberAlert(SpecModel):
    """A loss or gradient that is no finite number; such a step is never taken."""

    action: Literal["skip", "rollback", "stop"] = Field(default="stop", description=_ACTION)


class Alerts(SpecModel):
    """Limits of a healthy run. They may be changed while it runs."""

    gradient_norm: GradientNormAlert = Field(
        default=GradientNormAlert(), description="The norm of a step's gradient, before clipping."
    )
    activation_range: ActivationRangeAlert = Field(
        default=ActivationRangeAlert(), description="The largest absolute value that leaves a layer."
    )
    memory: MemoryAlert = Field(default=MemoryAlert(), description="The memory of a process.")
    loss_spike: LossSpikeAlert = Field(
        default=LossSpikeAlert(), description="The loss of a step against the median of the last 32."
    )
    expert_load: ExpertLoadAlert = Field(
        default=ExpertLoadAlert(), description="The experts of a layer against their mean."
    )
    not_a_number: NotANumberAlert = Field(
        default=NotANumberAlert(), description="A loss or gradient that is no finite number."
    )
    rollback_checkpoints: int = Field(
        default=1, ge=1, le=100, description="How many checkpoints back; 1 is to the newest."
    )
    max_rollbacks: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Rollbacks without a restart between; the next one stops the job.",
    )


class Profile(SpecModel):
    """A trace of the first process by torch.profiler, written below runs/ in spec.storage."""

    from_step: int = Field(ge=1, le=10**9, description="First step of the trace.")
    steps: int = Field(default=3, ge=1, le=100, description="Steps in the trace.")


class Mlflow(SpecModel):
    """An MLflow tracking server: one run there for the job, whatever the number of restarts."""

    tracking_uri: EndpointUrl = Field(description="URL of the server.")
    experiment: Annotated[str, StringConstraints(min_length=1, max_length=250)] = Field(
        description="Name of the experiment; made where there is none."
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret with MLFLOW_TRACKING_TOKEN, or with MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD; absent is a server that asks nobody.",
    )


class WeightsAndBiases(SpecModel):
    """Weights & Biases: one run there for the job, whatever the number of restarts."""

    project: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(description="Project.")
    entity: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        default=None, description="Team or user; absent is the key's own."
    )
    base_url: EndpointUrl = Field(default="https://api.wandb.ai", description="URL of the server.")
    secret_ref: LocalReference = Field(description="Secret with the key WANDB_API_KEY.")


class Monitoring(SpecModel):
    """What is measured beside each step's figures."""

    activation_range_every_steps: int = Field(
        default=ACTIVATION_RANGE_EVERY_STEPS,
        ge=0,
        le=10**9,
        description="Steps between two looks at activations; 0 is never.",
    )
    histograms_every_steps: int = Field(
        default=0,
        ge=0,
        le=10**9,
        description="Steps between two histograms of weights and gradients in TensorBoard; 0 is never.",
    )
    profile: Profile | None = Field(default=None, description="Steps to trace.")
    mlflow: Mlflow | None = Field(
        default=None, description="Where the curves go beside TensorBoard's files in spec.storage."
    )
    wandb: WeightsAndBiases | None = Field(
        default=None, description="Where the curves go beside TensorBoard's files in spec.storage."
    )
