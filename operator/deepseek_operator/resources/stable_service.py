"""The Service that clients call: its name and address stay, what it selects is switched."""

from typing import Final

from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.resources.metadata import Document, has_spec_of, owned_metadata
from deepseek_operator.resources.names import LABEL_CLUSTER, LABEL_ROLE, ResourceName
from deepseek_operator.resources.serving import cluster_name
from deepseek_operator.resources.worker import HTTP_PORT_NAME
from deepseek_workloads.contract.environment import ROLE_WORKER, SERVE_PORT

ENDPOINTS_LABEL: Final = "kubernetes.io/service-name"  # of the EndpointSlices of a Service


def stable_service_name(service: DeepSeekModelService) -> str:
    """That of the resource, so that clients call what was applied."""
    return service.metadata.name


def service_url(service: DeepSeekModelService) -> str:
    metadata = service.metadata
    return f"http://{stable_service_name(service)}.{metadata.namespace}.svc:{SERVE_PORT}"


def build_stable_service(service: DeepSeekModelService, *, cluster: str) -> Document:
    """Selects the replicas of this cluster."""
    metadata = service.metadata
    owner = ResourceName(service.kind, metadata.namespace, metadata.name, metadata.uid)
    selector = cluster_name(service, cluster).selector | {LABEL_ROLE: ROLE_WORKER}
    port = {"name": HTTP_PORT_NAME, "port": SERVE_PORT, "targetPort": HTTP_PORT_NAME, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(owner, name=stable_service_name(service)),
        "spec": {"type": "ClusterIP", "selector": selector, "ports": [port]},
    }


def is_intact(found: Document, service: DeepSeekModelService) -> bool:
    """Whether the Service on the server leads to the API, but for the cluster that it selects."""
    return has_spec_of(found, build_stable_service(service, cluster=selected_cluster(found)))


def selected_cluster(found: Document) -> str:
    """The id of the cluster that the Service on the server selects; empty: none of ours."""
    selector = (found.get("spec") or {}).get("selector") or {}
    return str(selector.get(LABEL_CLUSTER, ""))
