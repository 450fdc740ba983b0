"""What a run may ask of the order of its samples beyond the sources' weights. Pure; shared by both sides."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from deepseek_workloads.contract.wire import WireModel


class MixtureStage(WireModel):
    """From sample `at_sample` on sources are mixed by these weights; one that is not named is left out."""

    at_sample: int = Field(ge=1)
    weights: dict[str, float] = Field(min_length=1, max_length=16)  # by the source's name, relative


class SampleRange(WireModel):
    """Places of the order, `to_sample` not among them. A place is a number of consumed samples where nothing
    is skipped before."""

    from_sample: int = Field(ge=0)
    to_sample: int = Field(ge=1)

    @model_validator(mode="after")
    def _holds_a_sample(self) -> Self:
        if self.to_sample <= self.from_sample:
            raise ValueError(
                f"toSample {self.to_sample}: must be above fromSample {self.from_sample}: it is the first "
                "sample that is not skipped"
            )
        return self


def place_in_order(consumed_samples: int, skip: Sequence[SampleRange]) -> int:
    """Where the sample lies that follows on so many consumed ones. `skip`: rising and apart."""
    place = consumed_samples
    for skipped in skip:
        if place >= skipped.from_sample:
            place += skipped.to_sample - skipped.from_sample
    return place
