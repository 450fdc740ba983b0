"""What a training job learns beyond the next token, and what it leaves as it was."""

from typing import Any, Literal

from pydantic import Field

from deepseek_operator.api.optimization import ModulePattern
from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    Decimal,
    DnsLabel,
    Fraction,
    SpecModel,
    rule,
    with_rules,
)

_TARGETS = ("model.layers.*.self_attn.*", "model.layers.*.mlp.*")


def _patterns(*default: str, description: str) -> Any:
    """The field of a list of shell patterns."""
    return Field(
        default_factory=lambda: list(default),
        min_length=1,
        max_length=16,
        description=description,
        json_schema_extra={**ATOMIC_LIST, "default": list(default)},
    )


class Lora(SpecModel):
    """Low-rank adaptation: matrices of rank x width beside frozen ones."""

    rank: int = Field(default=8, ge=1, le=1024, description="Rank of what is added to each matrix.")
    alpha: Decimal = Field(default="16", description="What is added counts alpha / rank.")
    targets: list[ModulePattern] = _patterns(
        *_TARGETS, description="Shell patterns of names of the matrices; routed experts are none of them."
    )


class Quantisation(SpecModel):
    """Matrices of few numbers, in the export and, as the mode says, in training already."""

    mode: Literal["aware", "postTraining"] = Field(
        default="aware",
        description="aware: every forward pass rounds. postTraining: rounded at the end, evaluated again.",
    )
    bits: Literal[4, 8] = Field(
        default=8, description="8: a scale a row; exported as int8. 4: a scale for each 32 columns of a row."
    )
    modules: list[ModulePattern] = _patterns(
        *_TARGETS,
        description="Shell patterns of names of modules; routed experts are among them, routers never.",
    )


class CurriculumStage(SpecModel):
    """Up to a step sequences are cut into shorter ones, or only what is easy is read, or both."""

    model_config = with_rules(
        rule(
            "has(self.sequenceLength) || has(self.maxDifficulty)",
            "give sequenceLength, maxDifficulty, or both",
        )
    )

    until_step: int = Field(ge=1, le=10**9, description="Last step of the stage.")
    sequence_length: int | None = Field(
        default=None,
        ge=2,
        le=1_048_576,
        description="Tokens of a sequence; it divides data.sequenceLength. Absent: they are whole.",
    )
    max_difficulty: Fraction | None = Field(
        default=None,
        description=(
            "Of a sequence, from 0 to 1: the mean of its documents' scores by the stage scoreDifficulty of "
            "their DeepSeekDataset. The stage reads those that are not above it. Absent: any."
        ),
    )


class Pruning(SpecModel):
    """Of gated networks the inner channels with the least L1 norm are closed, and stay closed."""

    sparsity: Fraction = Field(description="Share of the channels that are closed, of each expert by itself.")
    at_step: int = Field(ge=1, le=10**9, description="Step after which they are closed.")
    modules: list[ModulePattern] = _patterns(
        "model.layers.*.mlp*", description="Shell patterns of names of gated networks."
    )


class Consolidation(SpecModel):
    """Elastic weight consolidation: weights that older data needs are held near those of model.initFrom."""

    source: DnsLabel = Field(
        description="The older dataset, of data.sources; it is also replayed by its weight there."
    )
    strength: Decimal = Field(default="1000", description="Strength of the penalty.")
    samples: int = Field(
        default=64, ge=1, le=10_000, description="Samples by which it is found out what the data needs."
    )
