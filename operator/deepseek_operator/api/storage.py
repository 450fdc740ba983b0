"""Object storage as a user names it: a prefix, an endpoint, a Secret.

It does not know what lies below a prefix (`contract.layout`).
"""

from pydantic import Field

from deepseek_operator.api.schema import DnsSubdomain, EndpointUrl, Region, SpecModel, StorageUri


class LocalReference(SpecModel):
    """An object in the namespace of the resource."""

    name: DnsSubdomain = Field(description="Name of the object.")


class StorageLocation(SpecModel):
    """Where an object storage is."""

    endpoint_url: EndpointUrl | None = Field(
        default=None,
        description="URL of an S3-compatible service; absent is AWS. Of gs:// and az://: an endpoint other "
        "than the service's own.",
    )
    region: Region = Field(default="us-east-1", description="Region that requests to S3 are signed for.")


class Storage(StorageLocation):
    """A prefix in object storage, and who may use it."""

    uri: StorageUri = Field(
        description="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, or pvc://claim/folder on "
        "a ReadWriteMany PersistentVolumeClaim of the namespace, which the pods mount; the resource owns "
        "everything below it."
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if needed, "
        "AWS_SESSION_TOKEN; of gs:// GOOGLE_SERVICE_ACCOUNT_KEY; of az:// AZURE_STORAGE_ACCOUNT_NAME and, in "
        "general, AZURE_STORAGE_ACCOUNT_KEY. The operator never reads it: the pods do.",
    )
