"""What a training job reads: prepared datasets, mixed by weight.

It does not know how they were prepared (`dataset`).
"""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.schema import (
    Decimal,
    Digest,
    DnsLabel,
    EndpointUrl,
    EvaluationName,
    Quantity,
    Region,
    SpecModel,
    StorageUri,
    exactly_one_of,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference


class DatasetSource(SpecModel):
    """Where a prepared dataset lies."""

    model_config = with_rules(
        exactly_one_of("datasetRef", "uri"),
        rule(
            "has(self.uri) || (!has(self.digest) && !has(self.endpointUrl) && !has(self.region))",
            "digest, endpointUrl and region belong to uri: a datasetRef brings its own",
        ),
    )

    name: DnsLabel = Field(description="Name of the source within the job.")
    dataset_ref: LocalReference | None = Field(
        default=None,
        description="DeepSeekDataset of the namespace; the job waits until it is ready and pins its digest.",
    )
    uri: StorageUri | None = Field(
        default=None,
        description="Prefix of a prepared dataset, s3://bucket/prefix or pvc://claim/folder with a "
        "manifest.json.",
    )
    digest: Digest | None = Field(
        default=None, description="sha256 of the manifest at uri; another one there is refused."
    )
    endpoint_url: EndpointUrl | None = Field(
        default=None, description="S3 service of uri; absent is that of spec.storage."
    )
    region: Region | None = Field(default=None, description="Region of uri; absent is that of spec.storage.")


class EvaluationSource(DatasetSource):
    """A prepared dataset to be measured on, both of its splits."""

    name: EvaluationName = Field(description="Name of the source within the job, and of its figures.")


class DataSource(DatasetSource):
    """A prepared dataset."""

    weight: Decimal = Field(
        default="1", description='Share of the samples relative to the other sources, for instance "0.5".'
    )
    max_epochs: Decimal | None = Field(
        default=None,
        description="A run that takes more epochs of it is refused before it starts; absent: no run is.",
    )


class MixtureStage(SpecModel):
    """Other weights of the sources, from a sample on."""

    model_config = with_rules(exactly_one_of("atSamples", "atTokens"))

    at_samples: int | None = Field(default=None, ge=1, le=2**53 - 1, description="Consumed samples.")
    at_tokens: int | None = Field(
        default=None, ge=1, le=2**53 - 1, description="Consumed tokens, rounded up to whole samples."
    )
    weights: dict[DnsLabel, Decimal] = Field(
        max_length=16,
        description="Of sources by name, relative; a source that is not named is left out.",
    )


class Mixture(SpecModel):
    """How the weights of sources change."""

    schedule: list[MixtureStage] = Field(
        min_length=1, max_length=64, description="By rising samples; before the first, the sources' weights."
    )


class SkippedSamples(SpecModel):
    """A range of the order that is not trained on, for instance after a spike of the loss."""

    model_config = with_rules(
        rule("self.toSample > self.fromSample", "toSample must be above fromSample: it is not skipped itself")
    )

    from_sample: int = Field(ge=0, le=2**53 - 1, description="First place of the order that is left out.")
    to_sample: int = Field(ge=1, le=2**53 - 1, description="First place after it that is not.")


class Data(SpecModel):
    """What the model reads."""

    sources: list[DataSource] = Field(
        min_length=1,
        max_length=16,
        description="Prepared datasets, mixed by weight.",
        json_schema_extra=list_map("name"),
    )
    sequence_length: int = Field(ge=2, le=1_048_576, description="Tokens of a sample.")
    mixture: Mixture | None = Field(default=None, description="How the sources' weights change.")
    skip: list[SkippedSamples] = Field(
        default_factory=list,
        max_length=64,
        description=(
            "Places of the order that are left out, rising and apart. A job that goes on from a checkpoint "
            "may add ranges that begin after it."
        ),
    )
    packing: Literal["packed", "bucketed"] = Field(
        default="packed",
        description=(
            "Of conversations (training.objective sft). packed: as many as fit share a sequence, and none "
            "sees another. bucketed: each is a sequence; those of similar length share a batch, which is "
            "padded to its longest."
        ),
    )
    long_conversations: Literal["truncate", "drop", "refuse"] = Field(
        default="truncate",
        description=(
            "Of conversations longer than sequenceLength (training.objective sft). truncate: they are cut "
            "there. drop: they are left out. refuse: the job is. What is lost is a warning of the job."
        ),
    )
    document_mask: bool = Field(
        default=False,
        description=(
            "Attention stays within the documents of running text, and none's first token is predicted from "
            "the one before; false: it goes over all of a sequence. Conversations (objective sft) never see "
            "each other."
        ),
    )
    cache_size: Quantity | None = Field(
        default=None,
        description=(
            "Disk of each worker pod that keeps what was read, for its other processes and for later epochs, "
            "for instance 200Gi; absent: nothing is kept."
        ),
    )
    seed: int = Field(
        default=0, ge=0, le=2**53 - 1, description="Seed of the order of samples and of the first weights."
    )
