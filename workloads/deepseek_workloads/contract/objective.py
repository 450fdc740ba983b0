"""What a run learns, and from what: how far it goes beyond predicting the next token. No torch."""

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
