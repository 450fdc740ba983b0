"""DeepSeekModelService: serve revisions of a model. Recorded by this release; a later one acts on it.

It does not know how a model is served.
"""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.meta import NAME_RULES, CommonStatus, Resource
from deepseek_operator.api.pods import Placement, Resources
from deepseek_operator.api.schema import (
    DnsLabel,
    Image,
    SpecModel,
    exactly_one_of,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference


class ServedModel(SpecModel):
    """Which revisions are served."""

    model_config = with_rules(exactly_one_of("revisionRef", "modelName"))

    revision_ref: LocalReference | None = Field(
        default=None, description="This DeepSeekModelRevision, until it is changed here."
    )
    model_name: DnsLabel | None = Field(
        default=None, description="The newest DeepSeekModelRevision whose spec.modelName is this."
    )


class Replicas(SpecModel):
    """How many copies of the model serve."""

    model_config = with_rules(rule("self.min <= self.max", "min is at most max", field_path=".min"))

    min: int = Field(default=1, ge=0, le=1000, description="Replicas without load.")
    max: int = Field(default=1, ge=1, le=1000, description="Replicas under the highest load.")


class ReplicaPods(Placement):
    """The pods that serve: one a replica."""

    resources: Resources = Field(default=Resources(), description="What each replica needs.")


class Engine(SpecModel):
    """How tokens are generated."""

    max_model_len: int | None = Field(
        default=None, ge=1, le=1_048_576, description="Tokens of prompt and answer; absent is the model's."
    )
    max_num_seqs: int = Field(default=16, ge=1, le=4096, description="Sequences generated at the same time.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Numbers of the matrix products. auto: bf16 on GPUs, fp32 on CPU."
    )


class RolloutStrategy(SpecModel):
    """How a new revision replaces the old one."""

    strategy: Literal["BlueGreen"] = Field(
        default="BlueGreen", description="BlueGreen: all traffic moves when the new revision is ready."
    )
    progress_deadline_seconds: int = Field(
        default=600, ge=1, le=604800, description="Seconds to readiness; after them the old revision stays."
    )
    revision_history_limit: int = Field(
        default=2, ge=0, le=100, description="Earlier revisions kept to roll back to."
    )


class ServiceSpec(SpecModel):
    """Which model to serve, with what, and how to change it."""

    suspend: bool = Field(default=False, description="true: free the nodes.")
    image: Image | None = Field(
        default=None, description="Image of the pods; absent is the operator's default worker image."
    )
    image_pull_secrets: list[LocalReference] = Field(
        default_factory=list,
        max_length=4,
        description="Secrets to pull the image with.",
        json_schema_extra=list_map("name"),
    )
    model: ServedModel = Field(description="Which revisions are served.")
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret with the credentials to read exports; absent is the revision's.",
    )
    replicas: Replicas = Field(default=Replicas(), description="How many copies of the model serve.")
    pods: ReplicaPods = Field(default=ReplicaPods(), description="The pods that serve.")
    engine: Engine = Field(default=Engine(), description="How tokens are generated.")
    rollout: RolloutStrategy = Field(
        default=RolloutStrategy(), description="How a new revision replaces the old one."
    )


class ServiceStatus(CommonStatus):
    """Whether the service is recorded."""


class DeepSeekModelService(Resource):
    """Serves revisions of a model by an OpenAI-compatible API. This release records it and starts nothing."""

    model_config = with_rules(*NAME_RULES)

    kind: Literal["DeepSeekModelService"] = "DeepSeekModelService"
    spec: ServiceSpec = Field(description="Which model to serve, with what, and how to change it.")
    status: ServiceStatus = Field(
        default_factory=ServiceStatus, description="Whether the service is recorded."
    )
