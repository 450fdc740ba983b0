"""What a training job learns beyond the next token, and what it leaves as it was."""

from pydantic import Field

from deepseek_operator.api.optimization import ModulePattern
from deepseek_operator.api.schema import ATOMIC_LIST, Decimal, SpecModel

_TARGETS = ["model.layers.*.self_attn.*", "model.layers.*.mlp.*"]


class Lora(SpecModel):
    """Low-rank adaptation: matrices of rank x width beside frozen ones."""

    rank: int = Field(default=8, ge=1, le=1024, description="Rank of what is added to each matrix.")
    alpha: Decimal = Field(default="16", description="What is added counts alpha / rank.")
    targets: list[ModulePattern] = Field(
        default_factory=lambda: list(_TARGETS),
        min_length=1,
        max_length=16,
        description="Shell patterns of names of the matrices; routed experts are none of them.",
        json_schema_extra={**ATOMIC_LIST, "default": list(_TARGETS)},
    )
