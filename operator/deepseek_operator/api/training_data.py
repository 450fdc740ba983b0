"""What a training job reads: prepared datasets, mixed by weight.

It does not know how they were prepared (`dataset`).
"""

from pydantic import Field

from deepseek_operator.api.schema import (
    Decimal,
    Digest,
    DnsLabel,
    EndpointUrl,
    Region,
    SpecModel,
    StorageUri,
    exactly_one_of,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference


class DataSource(SpecModel):
    """A prepared dataset."""

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
        default=None, description="Prefix of a prepared dataset, s3://bucket/prefix with a manifest.json."
    )
    digest: Digest | None = Field(
        default=None, description="sha256 of the manifest at uri; another one there is refused."
    )
    endpoint_url: EndpointUrl | None = Field(
        default=None, description="S3 service of uri; absent is that of spec.storage."
    )
    region: Region | None = Field(default=None, description="Region of uri; absent is that of spec.storage.")
    weight: Decimal = Field(
        default="1", description='Share of the samples relative to the other sources, for instance "0.5".'
    )


class Data(SpecModel):
    """What the model reads."""

    sources: list[DataSource] = Field(
        min_length=1,
        max_length=16,
        description="Prepared datasets, mixed by weight.",
        json_schema_extra=list_map("name"),
    )
    sequence_length: int = Field(ge=2, le=1_048_576, description="Tokens of a sample.")
    seed: int = Field(
        default=0, ge=0, le=2**53 - 1, description="Seed of the order of samples and of the first weights."
    )
