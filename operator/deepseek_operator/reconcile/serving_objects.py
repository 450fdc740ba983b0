"""The run config of each cluster of a service, and the stable Service: read and written.

It does not decide which cluster is wanted.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.cluster.interface import AlreadyExists, Cluster, Document
from deepseek_operator.cluster.kinds import CONFIG_MAP, ENDPOINT_SLICE, SERVICE
from deepseek_operator.reconcile.run_objects import require_own
from deepseek_operator.resources.names import ResourceName
from deepseek_operator.resources.run_objects import RunConfigMissing, run_config_of
from deepseek_operator.resources.serving import PodTemplate, cluster_name
from deepseek_operator.resources.serving_config import (
    build_serving_config_map,
    pod_template_of,
    template_hash_of,
)
from deepseek_operator.resources.stable_service import (
    ENDPOINTS_LABEL,
    build_stable_service,
    stable_service_name,
)
from deepseek_workloads.contract.run_config import ServingRun, parse_run


@dataclass(frozen=True)
class PinnedCluster:
    """What a cluster was made for: it stays so, whatever becomes of the spec."""

    name: ResourceName  # with the uid of the run config
    template_hash: str = ""
    run: ServingRun | None = None  # this and the template: None where they cannot be read, see `problem`
    template: PodTemplate | None = None
    problem: str = ""  # in words


async def pinned_cluster(
    cluster: Cluster, service: DeepSeekModelService, cluster_id: str
) -> PinnedCluster | None:
    """None: there is no run config, hence nothing of this cluster but perhaps pods.

    Raises NameTaken.
    """
    name = cluster_name(service, cluster_id)
    found = await cluster.get(CONFIG_MAP, name=name.run_config_map, namespace=name.namespace)
    if found is None:
        return None
    require_own(CONFIG_MAP, found, name)
    return _parsed(service, cluster_id, found)


async def pin_cluster(
    cluster: Cluster,
    service: DeepSeekModelService,
    cluster_id: str,
    *,
    run: ServingRun,
    template: PodTemplate,
    template_hash: str,
) -> PinnedCluster:
    """Writes it once; what exists already is kept. Raises NameTaken, and what the server refuses."""
    name = cluster_name(service, cluster_id)
    document = build_serving_config_map(name, run=run, template=template, template_hash=template_hash)
    try:
        created = await cluster.create(CONFIG_MAP, document)
    except AlreadyExists:
        existing = await pinned_cluster(cluster, service, cluster_id)
        if existing is None:
            raise
        return existing
    return _parsed(service, cluster_id, created)


async def collect_cluster(cluster: Cluster, name: ResourceName) -> None:
    """Deletes the run config, and with it, by the cluster's own garbage collection, all that it owns."""
    await cluster.delete(
        CONFIG_MAP, name=name.run_config_map, namespace=name.namespace, uid=name.run_config_uid
    )


async def stable_service(cluster: Cluster, service: DeepSeekModelService) -> Document | None:
    """None: there is none yet. Raises NameTaken."""
    metadata, name = service.metadata, stable_service_name(service)
    found = await cluster.get(SERVICE, name=name, namespace=metadata.namespace)
    if found is not None:
        require_own(SERVICE, found, cluster_name(service, ""))
    return found


async def select_cluster(cluster: Cluster, service: DeepSeekModelService, cluster_id: str) -> None:
    """Requests go to this cluster from now on."""
    await cluster.apply(SERVICE, build_stable_service(service, cluster=cluster_id))


async def ready_endpoints(cluster: Cluster, service: DeepSeekModelService) -> frozenset[str]:
    """uids of the pods that the stable Service leads to."""
    slices = await cluster.list_(
        ENDPOINT_SLICE,
        namespace=service.metadata.namespace,
        labels={ENDPOINTS_LABEL: stable_service_name(service)},
    )
    endpoints = (endpoint for each in slices for endpoint in each.get("endpoints") or [])
    return frozenset(
        (endpoint.get("targetRef") or {}).get("uid", "")
        for endpoint in endpoints
        if (endpoint.get("conditions") or {}).get("ready", True)
    )


def _parsed(service: DeepSeekModelService, cluster_id: str, found: Document) -> PinnedCluster:
    name = cluster_name(service, cluster_id, run_config_uid=found["metadata"]["uid"])
    try:
        run, template = parse_run(run_config_of(found)), pod_template_of(found)
        if isinstance(run, ServingRun):
            return PinnedCluster(name, template_hash_of(found), run, template)
        problem = f"it holds a {run.kind} run"
    except (ValidationError, RunConfigMissing) as error:
        problem = str(error)
    words = (
        f"ConfigMap {name.run_config_map} cannot be used by this operator: {problem}; its pods go on, but "
    )
    return PinnedCluster(
        name, problem=words + "cannot be replaced: change spec.image to roll out a new cluster"
    )
