"""What of a run config decides how gradients become weights: optimizer, schedule, precision. No torch."""

from typing import Literal

from pydantic import Field

from deepseek_workloads.contract.wire import WireModel


class Optimizer(WireModel):
    name: Literal["adamw", "muon", "amf"] = "adamw"
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    momentum: float | None = Field(default=None, ge=0, lt=1)  # of muon and amf; None: the algorithm's own
    function: str | None = None  # module:function of the user's image, in place of `name`

    def momentum_or(self, default: float) -> float:
        return default if self.momentum is None else self.momentum


class Schedule(WireModel):
    """Linear warm-up, then a decay to `min_ratio` of the learning rate at the last step."""

    name: Literal["cosine", "linear", "polynomial", "wsd", "constant"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    min_ratio: float = Field(default=0.1, ge=0, le=1)
    power: float | None = Field(default=None, gt=0)  # of polynomial; None: 2
    decay_steps: int | None = Field(default=None, ge=1)  # of wsd, at the end; None: a tenth of the steps


class PrecisionOverride(WireModel):
    """Modules whose numbers are others than the run's."""

    modules: str = Field(min_length=1)  # a shell pattern of names: model.layers.0.*
    precision: Literal["fp32", "bf16", "fp16"]
