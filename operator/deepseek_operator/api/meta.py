"""The parts of every resource: metadata as far as the operator reads it, conditions, status of a pod set.

It does not know when a condition is true (`status`).
"""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    MAX_NAME_LENGTH,
    Measured,
    StatusModel,
    list_map,
    rule,
)

# Pods and Services are named after the resource, and are host names: one DNS label.
NAME_RULES: Final = [
    rule(
        f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
        f"metadata.name has at most {MAX_NAME_LENGTH} characters: names of pods are made from it",
    ),
    rule(
        "!self.metadata.name.contains('.')",
        "metadata.name has no dot: names of pods, which are host names, are made from it",
    ),
]

ShortText = Annotated[str, StringConstraints(max_length=256)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
UriText = Annotated[str, StringConstraints(max_length=2048)]
LongText = Annotated[str, StringConstraints(max_length=4096)]


class OwnerReference(StatusModel):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class ObjectMeta(StatusModel):
    """What the operator reads of an object's metadata."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[OwnerReference] = Field(default_factory=list)


class Resource(StatusModel):
    """The base of the kinds: what is not spec or status."""

    api_version: Literal["deepseek.dev/v1alpha1"] = "deepseek.dev/v1alpha1"
    metadata: ObjectMeta


class Condition(StatusModel):
    """One aspect of the state, as in Kubernetes' own types."""

    type: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z]+$")] = Field(
        description="Aspect of the state, for instance Accepted."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Reason = Field(description="Why, in one CamelCase word for programs.")
    message: LongText = Field(default="", description="Why, in words, and what to do.")
    last_transition_time: datetime = Field(description="When the status last changed.")
    observed_generation: int = Field(
        default=0, description="metadata.generation that the condition was computed from."
    )


class NamedValue(StatusModel):
    """One measurement."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="What was measured, for instance held_out_bits_per_byte."
    )
    value: Measured = Field(description="The value, a decimal number.")


class PodSetStatus(StatusModel):
    """The pods of a resource."""

    desired: int = Field(default=0, description="Worker pods that should run.")
    ready: int = Field(default=0, description="Worker pods that run.")
    coordinator: ShortText = Field(default="", description="Name of the coordinator pod.")
    coordinator_incarnation: int = Field(
        default=0, description="Number of the newest coordinator pod: no number is used twice."
    )
    worker_incarnations: list[int] = Field(
        default_factory=list,
        max_length=1024,  # as many as spec.workers.numNodes may be
        description="Number of the newest worker pod of each index: none is used twice.",
        json_schema_extra=ATOMIC_LIST,
    )
    replacements: int = Field(default=0, description="Pods replaced in all: lost, preempted or broken.")


class CommonStatus(StatusModel):
    """What the status of every kind has."""

    observed_generation: int = Field(
        default=0, description="metadata.generation that the status was computed from."
    )
    state: Annotated[str, StringConstraints(max_length=32)] = Field(
        default="", description="The conditions in one word, for the STATE column; programs read conditions."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="What holds, why, and what to do.",
        json_schema_extra=list_map("type"),
    )


class RestartsBefore(StatusModel):
    """What had happened before a coordinator pod, which counts its own restarts only."""

    coordinator_incarnation: int = Field(ge=1, description="Number of the coordinator pod.")
    restarts: int = Field(ge=0, description="Restarts of the run before it.")


class RunStatus(CommonStatus):
    """What the status of every kind with pods has."""

    run_config_digest: ShortText = Field(
        default="", description="sha256 of the run config: rendered once, never changed for this resource."
    )
    pods: PodSetStatus | None = Field(default=None, description="The pods.")
    epoch: int = Field(
        default=0, description="Times that training was begun or resumed: the writer of the commit log."
    )
    restarts: int = Field(
        default=0,
        description="Restarts of the run, in place or by a new coordinator pod; a suspension is none.",
    )
    restarts_before: RestartsBefore | None = Field(
        default=None, description="How many of them came before the present coordinator pod."
    )
    failures: int = Field(default=0, description="Restarts that count against runPolicy.backoffLimit.")
    last_failure: LongText = Field(default="", description="The last failure, in words.")
    warnings: list[ShortText] = Field(
        default_factory=list, max_length=8, description="What is wrong without stopping the run."
    )
    control_generation: int = Field(
        default=0, description="Newest control that the run has obeyed, for instance to stop."
    )
    start_time: datetime | None = Field(default=None, description="When the first pod was created.")
    completion_time: datetime | None = Field(default=None, description="When the run ended.")
    suspended_since: datetime | None = Field(default=None, description="When the present suspension began.")
    suspended_seconds: int = Field(default=0, description="Seconds of suspensions that have ended.")
