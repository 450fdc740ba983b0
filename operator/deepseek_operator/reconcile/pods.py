"""Pods of one resource: read as facts, created once, deleted by uid. It does not decide which."""

from collections.abc import Iterable

from deepseek_operator.cluster.interface import AlreadyExists, Cluster
from deepseek_operator.cluster.kinds import POD
from deepseek_operator.reconcile.pod_changes import NewPod
from deepseek_operator.reconcile.run_objects import NameTaken, require_own
from deepseek_operator.resources.coordinator import build_coordinator_pod
from deepseek_operator.resources.metadata import Document
from deepseek_operator.resources.names import LABEL_ROLE, LABEL_UID, ROLES, ResourceName
from deepseek_operator.resources.pod_set import PodSet
from deepseek_operator.resources.standby import build_standby_pod
from deepseek_operator.resources.worker import build_worker_pod
from deepseek_operator.status.observed import PodFacts
from deepseek_operator.status.pods import pod_facts
from deepseek_workloads.contract.environment import ROLE_COORDINATOR, ROLE_DRIFT_CHECK, ROLE_STANDBY


async def observe_pods(cluster: Cluster, resource: ResourceName) -> tuple[PodFacts, ...]:
    """Every pod of the pod set that this very resource owns."""
    found = await cluster.list_(POD, namespace=resource.namespace, labels={LABEL_UID: resource.uid})
    facts = (pod_facts(pod) for pod in found)
    return tuple(pod for pod in facts if pod.owner_uid == resource.uid and pod.role in ROLES)


async def observe_drift_checks(cluster: Cluster, resource: ResourceName) -> tuple[PodFacts, ...]:
    """Those of a dataset, which are no members of its pod set."""
    labels = {LABEL_UID: resource.uid, LABEL_ROLE: ROLE_DRIFT_CHECK}
    found = await cluster.list_(POD, namespace=resource.namespace, labels=labels)
    facts = (pod_facts(pod) for pod in found)
    return tuple(pod for pod in facts if pod.owner_uid == resource.uid)


async def create_pods(cluster: Cluster, pod_set: PodSet, *, new: Iterable[NewPod]) -> None:
    """Those that exist already are left as they are. Raises NameTaken, and Forbidden or Rejected by a quota,
    an admission rule or the schema."""
    for each in new:
        document = _build(pod_set, each)
        try:
            await cluster.create(POD, document)
        except AlreadyExists:
            await _require_own_pod(cluster, pod_set.resource, name=document["metadata"]["name"])


async def delete_pods(cluster: Cluster, resource: ResourceName, *, pods: Iterable[PodFacts]) -> None:
    """In this order. One that is gone is not missed."""
    for pod in pods:
        await cluster.delete(POD, name=pod.name, namespace=resource.namespace, uid=pod.uid)


def _build(pod_set: PodSet, new: NewPod) -> Document:
    if new.role == ROLE_COORDINATOR:
        return build_coordinator_pod(pod_set, incarnation=new.incarnation, failures=new.failures)
    if new.role == ROLE_STANDBY:
        return build_standby_pod(pod_set, index=new.index, incarnation=new.incarnation, failures=new.failures)
    return build_worker_pod(pod_set, index=new.index, incarnation=new.incarnation, failures=new.failures)


async def _require_own_pod(cluster: Cluster, resource: ResourceName, *, name: str) -> None:
    found = await cluster.get(POD, name=name, namespace=resource.namespace)
    if found is None:
        raise NameTaken(f"Pod {name} existed a moment ago and is being removed: it is tried again")
    require_own(POD, found, resource)
