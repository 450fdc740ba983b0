"""DeepSeekModelRevision: recorded once for each successful export, and accepted as it is."""

import logging
from typing import Final

from deepseek_operator.api.model_revision import (
    DeepSeekModelRevision,
    JobReference,
    Measurement,
    RevisionProvenance,
    RevisionSpec,
)
from deepseek_operator.api.schema import API_VERSION
from deepseek_operator.api.storage import LocalReference, StorageLocation
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.cluster.interface import AlreadyExists, Cluster, Document, Forbidden, Rejected
from deepseek_operator.cluster.kinds import MODEL_REVISION
from deepseek_operator.resources.names import LABEL_MANAGED_BY, MANAGED_BY
from deepseek_operator.status.observed import Observed
from deepseek_operator.status.text import named_values, short_digest
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun

_LOG = logging.getLogger(__name__)
_MAX_NAME: Final = 40
_MAX_MEASUREMENTS: Final = 32


async def record_revision(
    cluster: Cluster, job: DeepSeekTrainingJob, *, verdict: Verdict, observed: Observed
) -> str:
    """The name of the revision that records the export, or empty when it cannot be recorded.

    It has no owner: a model outlives the job that made it.
    """
    document = build_revision(job, verdict=verdict, observed=observed)
    name: str = document["metadata"]["name"]
    try:
        await cluster.create(MODEL_REVISION, document)
    except AlreadyExists:
        return name
    except (Forbidden, Rejected) as error:
        _LOG.warning("DeepSeekModelRevision %s/%s is not recorded: %s", job.metadata.namespace, name, error)
        return ""
    return name


def build_revision(job: DeepSeekTrainingJob, *, verdict: Verdict, observed: Observed) -> Document:
    """Named after the job and the digest, so that the same export is recorded once."""
    spec = RevisionSpec(
        storage_uri=verdict.uri,
        storage_location=StorageLocation(
            endpoint_url=job.spec.storage.endpoint_url, region=job.spec.storage.region
        ),
        secret_ref=LocalReference(name=job.spec.storage.secret_ref.name)
        if job.spec.storage.secret_ref
        else None,
        digest=verdict.digest,
        model_name=job.metadata.name,
        parameters=job.status.plan.parameters if job.status.plan else None,
        active_parameters=job.status.plan.active_parameters if job.status.plan else None,
        evaluation=[
            Measurement(name=each.name, value=each.value)
            for each in named_values(verdict.evaluation)[:_MAX_MEASUREMENTS]
        ],
        provenance=_provenance(job, verdict=verdict, observed=observed),
    )
    return {
        "apiVersion": API_VERSION,
        "kind": DeepSeekModelRevision.__name__,
        "metadata": {
            "name": revision_name(job.metadata.name, verdict.digest),
            "namespace": job.metadata.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY},
        },
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def revision_name(job_name: str, digest: str) -> str:
    """At most 40 characters: the job's name, cut if need be, and the first digits of the digest."""
    suffix = short_digest(digest)
    return f"{job_name[: _MAX_NAME - len(suffix) - 1].rstrip('-')}-{suffix}"


def _provenance(job: DeepSeekTrainingJob, *, verdict: Verdict, observed: Observed) -> RevisionProvenance:
    run = observed.run
    digests = [s.digest for s in run.data.sources if s.digest] if isinstance(run, TrainingRun) else []
    return RevisionProvenance(
        job_ref=JobReference(name=job.metadata.name, uid=job.metadata.uid),
        epoch=verdict.epoch,
        step=verdict.step,
        consumed_samples=verdict.consumed_samples,
        checkpoint_prefix=verdict.checkpoint_prefix or None,
        run_config_digest=observed.run_config_digest or job.status.run_config_digest or None,
        dataset_digests=list(dict.fromkeys(digests)),
    )
