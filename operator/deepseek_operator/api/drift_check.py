"""spec.driftCheck of a DeepSeekDataset, and what status says of it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from deepseek_operator.api.meta import NamedValue, ShortText
from deepseek_operator.api.pods import CpuResources
from deepseek_operator.api.schema import Decimal, SpecModel, StatusModel, list_map

CronExpression = Annotated[str, StringConstraints(min_length=9, max_length=128, pattern=r"^\S+( \S+){4}$")]


class DriftCheck(SpecModel):
    """At times of a schedule a sample of the raw data that are new below the sources is compared with the
    dataset: lengths, languages, and what the pipeline's rules drop."""

    schedule: CronExpression = Field(
        description="Cron expression of five fields, in UTC, for instance 0 3 * * 1. Of missed times "
        "the last is caught up."
    )
    suspend: bool = Field(default=False, description="true: begin no more checks.")
    threshold: Decimal = Field(
        default="0.2",
        description="Population stability index of a feature from which on it has drifted: below 0.1 is "
        "little, above 0.25 much.",
    )
    sample_documents: int = Field(
        default=2000, ge=100, le=1_000_000, description="Documents of a sample, at most."
    )
    active_deadline_seconds: int = Field(
        default=3600, ge=60, le=86_400, description="Seconds that a check may take."
    )
    resources: CpuResources = Field(default=CpuResources(), description="Of the check's pod.")


class DriftCheckStatus(StatusModel):
    """The last check, and the next one."""

    last_schedule_time: datetime | None = Field(
        default=None, description="Time of the schedule for which the last check was begun."
    )
    next_schedule_time: datetime | None = Field(
        default=None, description="Next time of the schedule; absent while suspended."
    )
    last_check_time: datetime | None = Field(default=None, description="When the last check ended.")
    new_objects: int | None = Field(default=None, description="Raw objects that were new to the last check.")
    documents: int | None = Field(default=None, description="Documents of its sample.")
    divergences: list[NamedValue] = Field(
        default_factory=list,
        max_length=16,
        description="Population stability index by feature, of the last check that compared.",
        json_schema_extra=list_map("name"),
    )
    pod: ShortText = Field(default="", description="Pod of the check in progress.")
