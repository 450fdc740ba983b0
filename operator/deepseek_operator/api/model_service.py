"""DeepSeekModelService: serve revisions of a model, and replace one by the next without losing a request.

It does not know how a model is served, nor how a rollout goes on (`status.rollout`).
"""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.meta import NAME_RULES, Resource
from deepseek_operator.api.model_service_status import ServiceStatus
from deepseek_operator.api.pods import CpuResources, Placement, Resources
from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    Decimal,
    DnsLabel,
    Image,
    SpecModel,
    exactly_one_of,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference

# `model` in requests of the API, for instance deepseek/tiny-moe.
ServedModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_./:]*$")
]
_SERVICE_NAME_RULE: Final = rule(
    "self.metadata.name.matches('^[a-z]')",
    "metadata.name begins with a letter: a Kubernetes Service of the same name is made",
)


class ServedModel(SpecModel):
    """Which revisions are served."""

    model_config = with_rules(exactly_one_of("revisionRef", "modelName"))

    revision_ref: LocalReference | None = Field(
        default=None, description="This DeepSeekModelRevision, until it is changed here."
    )
    model_name: DnsLabel | None = Field(
        default=None,
        description="The newest DeepSeekModelRevision whose spec.modelName is this, or whose job named this "
        "service in spec.rollout.serviceRef.",
    )


class Replicas(SpecModel):
    """How many copies of the model serve."""

    model_config = with_rules(rule("self.min <= self.max", "min is at most max", field_path=".min"))

    min: int = Field(default=1, ge=1, le=1000, description="Replicas without load: this many run now.")
    max: int = Field(
        default=1, ge=1, le=1000, description="Replicas under the highest load. This release runs min."
    )


class ReplicaPods(Placement):
    """The pods that serve: one a replica."""

    resources: Resources = Field(default=Resources(), description="What each replica needs.")


class ServiceCoordinator(Placement):
    """The pod that leads each revision's Ray cluster. It needs no GPU."""

    resources: CpuResources = Field(
        default=CpuResources(cpu="500m", memory="2Gi"), description="What the coordinator pod needs."
    )


class Engine(SpecModel):
    """How tokens are generated."""

    max_model_len: int | None = Field(
        default=None, ge=1, le=1_048_576, description="Tokens of prompt and answer; absent is the model's."
    )
    max_num_seqs: int = Field(default=32, ge=1, le=4096, description="Sequences generated at the same time.")
    batch_wait_ms: int = Field(
        default=50, ge=0, le=10_000, description="Milliseconds that an idle engine waits for more requests."
    )
    max_queued_requests: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Requests that wait at a replica; what comes beyond is answered 429.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Numbers of the matrix products. auto: bf16 on GPUs, fp32 on CPU."
    )
    seed: int = Field(
        default=0, ge=0, le=2**53 - 1, description="Seed of sampled answers to requests that bring none."
    )


class RevisionCheck(SpecModel):
    """What a revision has to pass before it gets its first request, besides its digest and finite logits."""

    prompts: list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]] = Field(
        default_factory=list,
        max_length=8,
        description="Texts that the revision must be able to continue.",
        json_schema_extra=ATOMIC_LIST,
    )
    max_bits_per_byte_increase: Decimal = Field(
        default="0.05",
        description="How much worse than the active revision it may be on that revision's held-out text.",
    )


class RolloutStrategy(SpecModel):
    """How a new revision replaces the old one."""

    strategy: Literal["BlueGreen"] = Field(
        default="BlueGreen", description="BlueGreen: all traffic moves when the new revision is ready."
    )
    progress_deadline_seconds: int = Field(
        default=600,
        ge=1,
        le=604800,
        description="Seconds to readiness, waiting for nodes not counted; after them the revision has failed "
        "and the old one stays.",
    )
    check: RevisionCheck = Field(
        default=RevisionCheck(), description="What a revision has to pass before its first request."
    )
    revision_history_limit: int = Field(
        default=10, ge=0, le=100, description="Switches that are kept in status.history."
    )


class ServiceSpec(SpecModel):
    """Which model to serve, with what, and how to change it."""

    suspend: bool = Field(default=False, description="true: free the nodes.")
    image: Image | None = Field(
        default=None, description="Image of the pods; absent is the operator's default worker image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When nodes pull the image."
    )
    image_pull_secrets: list[LocalReference] = Field(
        default_factory=list,
        max_length=4,
        description="Secrets to pull the image with.",
        json_schema_extra=list_map("name"),
    )
    model: ServedModel = Field(description="Which revisions are served.")
    served_model_name: ServedModelName | None = Field(
        default=None, description="`model` in requests of the API; absent is the name of this resource."
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret with the credentials to read exports; absent is the revision's.",
    )
    api_keys_secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret each of whose values is a key of the API; absent: no key is asked for. The "
        "operator never reads it: the pods do, and follow its changes.",
    )
    replicas: Replicas = Field(default=Replicas(), description="How many copies of the model serve.")
    pods: ReplicaPods = Field(default=ReplicaPods(), description="The pods that serve.")
    coordinator: ServiceCoordinator = Field(
        default=ServiceCoordinator(), description="The pod that leads each revision's Ray cluster."
    )
    engine: Engine = Field(default=Engine(), description="How tokens are generated.")
    proxy: Literal["Python", "HAProxy"] = Field(
        default="Python", description="Ray Serve's proxy in each replica pod. HAProxy: higher throughput."
    )
    drain_seconds: int = Field(
        default=30,
        ge=0,
        le=3540,
        description="Seconds that a pod which is being removed goes on answering what it has begun: the "
        "longest answer that is not cut.",
    )
    rollout: RolloutStrategy = Field(
        default=RolloutStrategy(), description="How a new revision replaces the old one."
    )


class DeepSeekModelService(Resource):
    """Serves revisions of a model by an OpenAI-compatible API, and rolls out the next one."""

    model_config = with_rules(*NAME_RULES, _SERVICE_NAME_RULE)

    kind: Literal["DeepSeekModelService"] = "DeepSeekModelService"
    spec: ServiceSpec = Field(description="Which model to serve, with what, and how to change it.")
    status: ServiceStatus = Field(default_factory=ServiceStatus, description="Which revision serves.")
