"""Who may talk to the pods of a resource, and whom they may talk to: nobody but those named here."""

from typing import Any

from deepseek_operator.resources.metadata import Document, dependent_metadata
from deepseek_operator.resources.names import LABEL_ROLE
from deepseek_operator.resources.pod_set import PodSet
from deepseek_workloads.contract.environment import COORDINATOR_PORT, ROLE_WORKER, SERVE_PORT

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def build_network_policy(pod_set: PodSet) -> Document:
    """Pods of one run, or of one cluster of a service, reach each other on every port: gloo and NCCL choose
    theirs."""
    siblings = {"podSelector": {"matchLabels": pod_set.resource.selector}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": dependent_metadata(pod_set.resource, name=pod_set.resource.network_policy),
        "spec": {
            "podSelector": {"matchLabels": pod_set.resource.selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [siblings]},
                {"from": [_operator(pod_set)], "ports": [_port("TCP", COORDINATOR_PORT)]},
            ],
            "egress": [{"to": [siblings]}, _dns(), *_storage(pod_set)],
        },
    }


def build_http_policy(pod_set: PodSet) -> Document:
    """Of a serving cluster: anybody may call the API of its replicas, and nothing else of them."""
    resource = pod_set.resource
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": dependent_metadata(resource, name=f"{resource.network_policy}-http"),
        "spec": {
            "podSelector": {"matchLabels": resource.selector | {LABEL_ROLE: ROLE_WORKER}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [_port("TCP", SERVE_PORT)]}],
        },
    }


def _operator(pod_set: PodSet) -> Document:
    network = pod_set.settings.network
    peer: dict[str, Any] = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE_LABEL: network.operator_namespace}}
    }
    if network.operator_labels:
        peer["podSelector"] = {"matchLabels": dict(network.operator_labels)}
    return peer


def _dns() -> Document:
    """To any address: clusters run DNS as pods, on nodes or outside, and the port is what they share."""
    return {"ports": [_port("UDP", 53), _port("TCP", 53)]}


def _storage(pod_set: PodSet) -> list[Document]:
    """None for a run whose data lies on claims alone: the kubelet reaches those. A rule without ports would
    open them all."""
    if not pod_set.storage_ports:
        return []
    rule: Document = {"ports": [_port("TCP", port) for port in pod_set.storage_ports]}
    peers = pod_set.settings.network.storage_peers
    return [rule | ({"to": [dict(peer) for peer in peers]} if peers else {})]


def _port(protocol: str, port: int) -> Document:
    return {"protocol": protocol, "port": port}
