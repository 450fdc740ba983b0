"""DeepSeekModelRevision: the immutable record of one exported model.

It does not know who serves it.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.meta import NAME_RULES, CommonStatus, NamedValue, Resource, ShortText
from deepseek_operator.api.schema import (
    MAX_MEASUREMENTS,
    SET_LIST,
    Digest,
    DnsLabel,
    DnsSubdomain,
    SpecModel,
    StorageUri,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference, StorageLocation


class Measurement(SpecModel, NamedValue):
    """One measurement on held-out text."""


class JobReference(SpecModel):
    """The job that made the model; it may be gone."""

    name: DnsSubdomain = Field(description="Name of the DeepSeekTrainingJob.")
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(description="Its uid.")


class BaseExport(SpecModel):
    """The export that training started from."""

    storage_uri: StorageUri = Field(description="Its prefix, s3://bucket/... or pvc://claim/...")
    digest: Digest | None = Field(
        default=None,
        description="sha256 of its manifest, which is the digest of the revision that records it.",
    )


class RevisionProvenance(SpecModel):
    """From the model back to the data it saw."""

    job_ref: JobReference | None = Field(default=None, description="The job that made the model.")
    epoch: int | None = Field(
        default=None, ge=0, le=2**53 - 1, description="Epoch of the job that exported it."
    )
    step: int | None = Field(default=None, ge=0, le=2**53 - 1, description="Steps it was trained for.")
    consumed_samples: int | None = Field(default=None, ge=0, le=2**53 - 1, description="Samples it saw.")
    checkpoint_prefix: ShortText | None = Field(
        default=None, description="Checkpoint it was exported from, relative to the job's storage."
    )
    run_config_digest: Digest | None = Field(default=None, description="sha256 of the job's run config.")
    dataset_digests: list[Digest] = Field(
        default_factory=list,
        max_length=16,
        description="sha256 of the manifests of the datasets.",
        json_schema_extra=SET_LIST,
    )
    init_from: BaseExport | None = Field(
        default=None, description="The export that training started from; absent is random weights."
    )


class RevisionSpec(SpecModel):
    """Which model, where, and how it came to be."""

    model_config = with_rules(rule("self == oldSelf", "spec is immutable: a revision records one export"))

    storage_uri: StorageUri = Field(
        description="Prefix of the export, s3://bucket/.../exports/sha256-... or pvc://claim/.../exports/sha256-..."
    )
    storage_location: StorageLocation = Field(
        default=StorageLocation(), description="S3 service of storageUri."
    )
    secret_ref: LocalReference | None = Field(
        default=None, description="Secret with the credentials to read the export with."
    )
    digest: Digest = Field(description="sha256 of the export's manifest: the name of the model's content.")
    model_name: DnsLabel | None = Field(
        default=None, description="Name of the model over its revisions, for instance the job's."
    )
    service_ref: LocalReference | None = Field(
        default=None,
        description="DeepSeekModelService of the namespace that considers this revision beside those of its "
        "modelName: the job's spec.rollout.serviceRef.",
    )
    architecture: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        default="DeepseekV3ForCausalLM", description="Class of the model in Hugging Face's names."
    )
    parameters: int | None = Field(default=None, ge=0, le=2**53 - 1, description="Weights of the model.")
    active_parameters: int | None = Field(
        default=None, ge=0, le=2**53 - 1, description="Weights that one token passes."
    )
    evaluation: list[Measurement] = Field(
        default_factory=list,
        max_length=MAX_MEASUREMENTS,
        description="Measurements on held-out text.",
        json_schema_extra=list_map("name"),
    )
    provenance: RevisionProvenance = Field(
        default=RevisionProvenance(), description="From the model back to the data it saw."
    )


class RevisionStatus(CommonStatus):
    """Whether the revision is recorded."""


class DeepSeekModelRevision(Resource):
    """Records one exported model for good: where it lies, its digest, its provenance, its evaluation."""

    model_config = with_rules(*NAME_RULES)

    kind: Literal["DeepSeekModelRevision"] = "DeepSeekModelRevision"
    spec: RevisionSpec = Field(description="Which model, where, and how it came to be.")
    status: RevisionStatus = Field(
        default_factory=RevisionStatus, description="Whether the revision is recorded."
    )
