"""Which checkpoints of a run are kept. It may change while the run goes: newer ones come with `Control`."""

from typing import Literal

from pydantic import Field

from deepseek_workloads.contract.wire import TolerantWireModel


class KeepBest(TolerantWireModel):
    """By a figure of the checkpoint's record; one without it is no candidate."""

    metric: str
    mode: Literal["min", "max"] = "min"
    count: int = Field(default=1, ge=1)


class Retention(TolerantWireModel):
    """A checkpoint stays while one of these wants it."""

    keep_last: int = Field(default=3, ge=1)
    keep_every: int | None = Field(default=None, ge=1)  # steps that it divides stay for good; None: none does
    keep_best: KeepBest | None = None
