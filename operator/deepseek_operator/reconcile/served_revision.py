"""Which revision a service is to serve: the one that it names, or the newest of its model."""

from dataclasses import dataclass

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.cluster.interface import Cluster
from deepseek_operator.cluster.kinds import MODEL_REVISION
from deepseek_operator.reconcile.key import Key
from deepseek_operator.resources.revision import newest_revision, readable_revision


@dataclass(frozen=True)
class ServedRevision:
    depends_on: Key  # whose changes may change the answer; without a name: any of the namespace
    revision: DeepSeekModelRevision | None = None
    missing: str = ""  # why there is none, in words


async def served_revision(cluster: Cluster, service: DeepSeekModelService) -> ServedRevision:
    reference = service.spec.model.revision_ref
    if reference is not None:
        return await _named(cluster, service, reference.name)
    return await _newest(cluster, service)


def _is_considered(revision: DeepSeekModelRevision, service: DeepSeekModelService) -> bool:
    """Of its model, or of a job that named the service."""
    named = revision.spec.service_ref is not None and revision.spec.service_ref.name == service.metadata.name
    return named or revision.spec.model_name == service.spec.model.model_name


async def _named(cluster: Cluster, service: DeepSeekModelService, name: str) -> ServedRevision:
    namespace = service.metadata.namespace
    key = Key(MODEL_REVISION, namespace, name)
    document = await cluster.get(MODEL_REVISION, name=name, namespace=namespace)
    if document is None or document["metadata"].get("deletionTimestamp"):
        missing = f"DeepSeekModelRevision {name} does not exist in namespace {namespace}: create it, or name "
        return ServedRevision(key, missing=f"{missing}another one in spec.model.revisionRef")
    revision = readable_revision(document)
    if revision is None:
        return ServedRevision(key, missing=f"DeepSeekModelRevision {name} cannot be read: see its conditions")
    return ServedRevision(key, revision)


async def _newest(cluster: Cluster, service: DeepSeekModelService) -> ServedRevision:
    namespace = service.metadata.namespace
    key = Key(MODEL_REVISION, namespace, "")
    documents = await cluster.list_(MODEL_REVISION, namespace=namespace)
    found = newest_revision(documents, wanted=lambda each: _is_considered(each, service))
    if found is not None:
        return ServedRevision(key, found)
    missing = (
        f"no DeepSeekModelRevision of namespace {namespace} has spec.modelName "
        f"{service.spec.model.model_name} or spec.serviceRef {service.metadata.name} yet: a training job "
        "records one when it succeeds"
    )
    return ServedRevision(key, missing=missing)
