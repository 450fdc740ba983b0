"""How a training job turns gradients into weights: optimizer, schedule, numbers.

It does not know how long or on what the job trains.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.schema import Decimal, Entrypoint, Fraction, SpecModel, rule, with_rules

ModulePattern = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.*?\[\]!-]+$")
]


class Optimizer(SpecModel):
    """How weights are changed."""

    model_config = with_rules(
        rule(
            "self.name != 'adamw' || !has(self.momentum)",
            "belongs to muon and amf: adamw has beta1",
            field_path=".momentum",
        )
    )

    name: Literal["adamw", "muon", "amf"] = Field(
        default="adamw",
        description="Algorithm. muon: orthogonal updates of the matrices between embedding and head, AdamW "
        "for the rest. amf: AdamW's step through a heavy-ball buffer; it wants a lower learning rate.",
    )
    learning_rate: Decimal = Field(default="3e-4", description="Highest learning rate of the schedule.")
    weight_decay: Decimal = Field(default="0.1", description="Decoupled decay of the weight matrices.")
    beta1: Fraction = Field(default="0.9", description="Decay of the mean of gradients.")
    beta2: Fraction = Field(default="0.95", description="Decay of the mean of squared gradients.")
    epsilon: Decimal = Field(default="1e-8", description="Added to the denominator.")
    momentum: Fraction | None = Field(
        default=None, description="Of muon (absent: 0.95) and of amf's buffer (absent: 0.9)."
    )
    function: Entrypoint | None = Field(
        default=None,
        description="module:function of spec.image that makes the optimizer in place of name; "
        "docs/custom-training.md.",
    )


class Schedule(SpecModel):
    """The learning rate over the steps."""

    model_config = with_rules(
        rule(
            "self.name == 'wsd' || !has(self.decaySteps)",
            "belongs to wsd: the others decay over all steps after warm-up",
            field_path=".decaySteps",
        ),
        rule(
            "self.name == 'polynomial' || !has(self.power)",
            "belongs to polynomial",
            field_path=".power",
        ),
    )

    name: Literal["cosine", "linear", "polynomial", "wsd", "constant"] = Field(
        default="cosine", description="Shape of the decay after warm-up. wsd: stable, then linear at the end."
    )
    warmup_steps: int = Field(
        default=0, ge=0, le=10_000_000, description="Steps in which the rate rises linearly from 0."
    )
    min_ratio: Decimal = Field(
        default="0.1", description="Learning rate of the last step, as a share of the highest; at most 1."
    )
    power: Decimal | None = Field(default=None, description="Exponent of polynomial; absent: 2.")
    decay_steps: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Steps of wsd's decay, at the end; absent: a tenth of all.",
    )


class PrecisionOverride(SpecModel):
    """Modules whose numbers are others than the job's."""

    modules: ModulePattern = Field(
        description="Shell pattern of module names, for instance model.layers.0.* or *.self_attn."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(description="Numbers of their matrix products.")
