"""Whether what a revision records can be found."""

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.validation.storage import check_endpoint, check_uri
from deepseek_workloads.plan.problem import Problem


def validate_revision(revision: DeepSeekModelRevision, *, prefix: str = "") -> list[Problem]:
    """Empty: as far as can be seen, it can be read. `prefix` is put before the fields, for a reader whose own
    resource is another one."""
    spec = revision.spec
    endpoint = f"{prefix}spec.storageLocation.endpointUrl"
    return [
        *check_uri(spec.storage_uri, field=f"{prefix}spec.storageUri"),
        *check_endpoint(spec.storage_location.endpoint_url, field=endpoint),
    ]


def problems_with(revision: DeepSeekModelRevision) -> list[Problem]:
    """The same, told to the user of a resource that refers to the revision."""
    return validate_revision(revision, prefix=f"DeepSeekModelRevision {revision.metadata.name}: ")
