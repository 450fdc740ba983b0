"""The status of a DeepSeekModelService: which revision serves, which one is being brought up.

It does not know how it is computed (`status.model_service`).
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from deepseek_operator.api.meta import CommonStatus, LongText, PodSetStatus, ShortText
from deepseek_operator.api.schema import ATOMIC_LIST, Measured, StatusModel, list_map

Phase = Literal["Pending", "Starting", "Checking", "Ready", "Failed"]


class ServedRevision(StatusModel):
    """A revision and the Ray cluster that serves it."""

    revision: ShortText = Field(description="Name of the DeepSeekModelRevision.")
    uid: ShortText = Field(default="", description="Its uid.")
    digest: ShortText = Field(default="", description="sha256 of the export's manifest.")
    short_digest: ShortText = Field(default="", description="Its first digits.")
    cluster_id: ShortText = Field(
        description="Label deepseek.dev/cluster of its pods, and part of their names."
    )
    template_hash: ShortText = Field(
        default="", description="Hash of all that it serves with: revision, image, engine, pods."
    )
    served_model_name: ShortText = Field(default="", description="`model` in requests of the API.")
    bits_per_byte: Measured | None = Field(
        default=None, description="On the held-out text of its own export, when it was checked."
    )
    pods: PodSetStatus | None = Field(default=None, description="Its pods.")


class ActiveRevision(ServedRevision):
    """The revision that gets the requests."""

    since: datetime = Field(description="When it got its first request.")


class CandidateRevision(ServedRevision):
    """The revision that is brought up beside the active one; it gets no request."""

    phase: Phase = Field(default="Pending", description="How far it is.")
    reason: ShortText = Field(default="", description="Why, in one CamelCase word.")
    message: LongText = Field(default="", description="Why, in words.")
    checked: bool = Field(
        default=False, description="Digest, prompts, logits and bits per byte have been found good."
    )
    since: datetime = Field(description="When it was first brought up.")
    phase_since: datetime = Field(description="When it entered its phase.")
    progressing_since: datetime | None = Field(
        default=None,
        description="When its time to readiness began; absent while a pod waits for a node. Time without an "
        "operator does not count.",
    )


class RetiredCluster(StatusModel):
    """A Ray cluster that is being removed."""

    cluster_id: ShortText = Field(description="Label deepseek.dev/cluster of its pods.")
    served: bool = Field(default=False, description="It had requests, and drains.")


class Switch(StatusModel):
    """Requests were moved to this revision."""

    revision: ShortText = Field(description="Name of the DeepSeekModelRevision.")
    digest: ShortText = Field(default="", description="sha256 of the export's manifest.")
    cluster_id: ShortText = Field(default="", description="Its Ray cluster.")
    time: datetime = Field(description="When.")


class ServiceStatus(CommonStatus):
    """Which revision serves, and which one is being brought up."""

    active: ActiveRevision | None = Field(default=None, description="The revision that gets the requests.")
    candidate: CandidateRevision | None = Field(
        default=None, description="The revision that is brought up, or that has failed."
    )
    retired: list[RetiredCluster] = Field(
        default_factory=list,
        max_length=64,
        description="Ray clusters that are being removed.",
        json_schema_extra=list_map("clusterId"),
    )
    history: list[Switch] = Field(
        default_factory=list,
        max_length=100,
        description="Switches, the newest first.",
        json_schema_extra=ATOMIC_LIST,
    )
    replicas: int = Field(default=0, description="Replicas that should answer: 0 while suspended.")
    ready_replicas: int = Field(default=0, description="Replicas of the active revision that answer.")
    ready: ShortText = Field(default="", description="readyReplicas of replicas, for instance 2/2.")
    url: ShortText = Field(default="", description="Where the API answers inside of the cluster.")
    last_failure: LongText = Field(
        default="", description="The last pod of the active revision that was lost or broke, in words."
    )
