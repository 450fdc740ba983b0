"""What a run learns, and from what: how far it goes beyond predicting the next token. No torch."""

from typing import Literal

from pydantic import Field

from deepseek_workloads.contract.wire import WireModel


class Lora(WireModel):
    """Small matrices beside frozen ones; merged at the export."""

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16, gt=0)
    targets: list[str] = Field(  # shell patterns of names of matrices
        default=["model.layers.*.self_attn.*", "model.layers.*.mlp.*"], min_length=1, max_length=16
    )

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class Quantisation(WireModel):
    """Matrices are rounded in the export; of mode `aware` in every forward pass, too."""

    mode: Literal["aware", "postTraining"] = "aware"
    bits: Literal[4, 8] = 8
    modules: list[str] = Field(  # shell patterns of names
        default=["model.layers.*.self_attn.*", "model.layers.*.mlp.*"], min_length=1, max_length=16
    )


class CurriculumStage(WireModel):
    """Up to and with a step, sequences are this long, and what is read is not above this difficulty."""

    until_step: int = Field(ge=1)
    sequence_length: int | None = Field(default=None, ge=2)  # None: whole
    max_difficulty: float | None = Field(default=None, ge=0, le=1)  # None: any


class Pruning(WireModel):
    """Of gated networks the channels with the least L1 norm are closed after a step, and stay so."""

    sparsity: float = Field(gt=0, lt=1)  # share of the channels
    at_step: int = Field(ge=1)
    modules: list[str] = Field(  # shell patterns of names of gated networks
        default=["model.layers.*.mlp*"], min_length=1, max_length=16
    )


class Consolidation(WireModel):
    """Elastic weight consolidation: weights that the older data needs are held near where they start."""

    source: str  # of the run's data: the older one, which is also replayed by its weight
    strength: float = Field(default=1000, gt=0)
    samples: int = Field(default=64, ge=1, le=10_000)  # by which it is found out what the older data needs
