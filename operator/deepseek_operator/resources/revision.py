"""The DeepSeekModelRevision that records a finished job's model. It has no owner: it outlives the job."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.schema import API_VERSION, MAX_MEASUREMENTS, MAX_NAME_LENGTH, measured
from deepseek_operator.api.training_job import DeepSeekTrainingJob
from deepseek_operator.api.training_job_status import PlanStatus
from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.names import LABEL_MANAGED_BY, LABEL_RESOURCE, LABEL_UID, MANAGED_BY
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan.hugging_face_config import class_of

_DIGEST_DIGITS = 8


def revision_name(job_name: str, *, digest: str) -> str:
    """`<job>-<digits of the digest>`: another content has another name, the same content the same."""
    digits = digest.removeprefix("sha256:")[:_DIGEST_DIGITS]
    return f"{job_name[: MAX_NAME_LENGTH - _DIGEST_DIGITS - 1].rstrip('-')}-{digits}"


def newest_revision(
    documents: Iterable[Document], *, wanted: Callable[[DeepSeekModelRevision], bool]
) -> DeepSeekModelRevision | None:
    """By creation, then by name: several may be of the same second. One that is being deleted is gone; one
    that cannot be read says so itself, and stands in no other's way."""
    present = (each for each in documents if not each["metadata"].get("deletionTimestamp"))
    revisions = (revision for each in present if (revision := readable_revision(each)) is not None)
    return max(filter(wanted, revisions), key=_age, default=None)


def readable_revision(document: Document) -> DeepSeekModelRevision | None:
    """None: another release has stored it, and this one cannot read it."""
    try:
        return DeepSeekModelRevision.model_validate(document)
    except ValidationError:
        return None


def _age(revision: DeepSeekModelRevision) -> tuple[float, str]:
    created = revision.metadata.creation_timestamp
    return (created.timestamp() if created is not None else 0.0, revision.metadata.name)


def build_revision(
    job: DeepSeekTrainingJob,
    *,
    run: TrainingRun,
    run_config_digest: str,
    verdict: Verdict,
    plan: PlanStatus | None,
) -> Document:
    """`verdict`: of a job that succeeded, hence with digest and URI of an export."""
    metadata = job.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": DeepSeekModelRevision.__name__,
        "metadata": {
            "name": revision_name(metadata.name, digest=verdict.digest),
            "namespace": metadata.namespace,
            "labels": {
                LABEL_MANAGED_BY: MANAGED_BY,
                LABEL_RESOURCE: metadata.name,
                LABEL_UID: metadata.uid,
            },
        },
        "spec": {
            "storageUri": verdict.uri,
            "storageLocation": _location(run),
            **_secret(job),
            "digest": verdict.digest,
            "modelName": metadata.name,
            "architecture": class_of(run.architecture),
            **({"serviceRef": {"name": job.spec.rollout.service_ref.name}} if job.spec.rollout else {}),
            **({"parameters": plan.parameters, "activeParameters": plan.active_parameters} if plan else {}),
            "evaluation": [
                {"name": name, "value": measured(value)}
                for name, value in sorted(verdict.evaluation.items())[:MAX_MEASUREMENTS]
            ],
            "provenance": _provenance(job, run=run, run_config_digest=run_config_digest, verdict=verdict),
        },
    }


def _location(run: TrainingRun) -> Document:
    storage = run.storage
    endpoint = {"endpointUrl": storage.endpoint_url} if storage.endpoint_url else {}
    return endpoint | {"region": storage.region}


def _secret(job: DeepSeekTrainingJob) -> Document:
    reference = job.spec.storage.secret_ref
    return {"secretRef": {"name": reference.name}} if reference else {}


def _provenance(
    job: DeepSeekTrainingJob, *, run: TrainingRun, run_config_digest: str, verdict: Verdict
) -> dict[str, Any]:
    digests = sorted({source.digest for source in run.data.sources if source.digest})
    return {
        "jobRef": {"name": job.metadata.name, "uid": job.metadata.uid},
        "epoch": verdict.epoch,
        "step": verdict.step,
        "consumedSamples": verdict.consumed_samples,
        **({"checkpointPrefix": verdict.checkpoint_prefix} if verdict.checkpoint_prefix else {}),
        "runConfigDigest": run_config_digest,
        "datasetDigests": digests,
        **_base(run),
    }


def _base(run: TrainingRun) -> Document:
    base = run.init_from
    if base is None:
        return {}
    return {"initFrom": {"storageUri": base.uri, **({"digest": base.digest} if base.digest else {})}}
