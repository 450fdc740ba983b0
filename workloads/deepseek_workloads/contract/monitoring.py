"""What is watched while a run trains, and what happens when it looks bad. No torch.

Alert rules may change while the run goes: they come with the run config, and newer ones with `Control`.
"""

from typing import Final, Literal

from pydantic import Field

from deepseek_workloads.contract.wire import TolerantWireModel, WireModel

ACTIVATION_RANGE_EVERY_STEPS: Final = 100  # the resource's default; a run config's is never

AlertKind = Literal["GradientNorm", "ActivationRange", "Memory", "LossSpike", "NotANumber", "ExpertCollapse"]
AlertAction = Literal["ignore", "warn", "skip", "rollback", "stop"]


class AlertRule(TolerantWireModel):
    """Above `threshold` the action is taken."""

    threshold: float = Field(ge=0)
    action: AlertAction = "warn"


class ExpertLoadRule(AlertRule):
    """`threshold` is of the busiest expert's load over the mean load of its layer. That is at most experts /
    experts per token, which few models have above 10: `token_share` means the same for every model."""

    token_share: float | None = Field(default=None, gt=0)  # of its layer's tokens; None: not judged
    # Of a layer's experts that get next to no tokens (`train.watch.idle_experts`); None: not judged.
    idle_share: float | None = Field(default=None, ge=0)


class NotANumberRule(TolerantWireModel):
    action: Literal["skip", "rollback", "stop"] = "stop"  # such a step is never applied


class Alerts(TolerantWireModel):
    gradient_norm: AlertRule = AlertRule(threshold=10)  # before clipping
    activation_range: AlertRule = AlertRule(threshold=15)  # the largest absolute value that leaves a layer
    memory: AlertRule = AlertRule(threshold=0.9)  # of a rank's limit
    loss_spike: AlertRule = AlertRule(threshold=2)  # times the median of the last losses
    expert_load: ExpertLoadRule = ExpertLoadRule(threshold=10, token_share=0.75, idle_share=0.25)
    not_a_number: NotANumberRule = NotANumberRule()
    rollback_checkpoints: int = Field(default=1, ge=1, le=100)  # 1: to the newest
    max_rollbacks: int = Field(default=3, ge=0)  # of one epoch; the next one stops the run


class Profile(WireModel):
    """A trace of rank 0 by torch.profiler."""

    from_step: int = Field(ge=1)
    steps: int = Field(default=3, ge=1, le=100)


class Mlflow(WireModel):
    """A tracking server; its credentials come by environment variables of MLflow's names."""

    tracking_uri: str
    experiment: str


class WeightsAndBiases(WireModel):
    """The key comes by WANDB_API_KEY."""

    project: str
    entity: str | None = None  # None: the key's own
    base_url: str = "https://api.wandb.ai"


class Monitoring(WireModel):
    activation_range_every_steps: int | None = Field(default=None, ge=1)  # None: never
    histograms_every_steps: int | None = Field(default=None, ge=1)  # of weights and gradients; None: never
    profile: Profile | None = None
    mlflow: Mlflow | None = None  # None: the run's curves do not go there; TensorBoard has them always
    wandb: WeightsAndBiases | None = None
