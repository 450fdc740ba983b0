"""What runs in the cluster from the start: CoreDNS on every node, the rights of the network policy enforcer,
and in control-plane mode KWOK's nodes. Pure builders; `apply_all` sends what they made."""

from collections.abc import Iterable, Mapping
from typing import Any

from local_kubernetes.api import Api
from local_kubernetes.settings import GPU_POOL_LABEL, GPU_TAINT, Network, Settings

Object = dict[str, Any]
COREDNS_IMAGE = "localhost/coredns:1"
_DNS_LABELS = {"k8s-app": "kube-dns"}
_RBAC = "rbac.authorization.k8s.io"
KWOK_ANNOTATION = "kwok.x-k8s.io/node"

_COREFILE = """\
.:53 {
    errors
    health
    ready
    cache 5
    kubernetes cluster.local in-addr.arpa {
        ttl 5
    }
}
"""


def apply_all(api: Api, objects: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Applies each object at its path."""
    for path, document in objects:
        api.apply(path, document)


def network_policy_rights() -> list[tuple[str, Object]]:
    rules = [
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
    ]
    user = {"kind": "User", "apiGroup": _RBAC, "name": "local-kubernetes:network-policy"}
    return _cluster_role("local-kubernetes:network-policy", rules, subject=user)


def coredns(network: Network) -> list[tuple[str, Object]]:
    """One CoreDNS a node, and queries stay on their node: names resolve while the other node is dead."""
    namespaced = "/api/v1/namespaces/kube-system"
    account = {"kind": "ServiceAccount", "namespace": "kube-system", "name": "coredns"}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _named("coredns"),
        "data": {"Corefile": _COREFILE},
    }
    return [
        (
            f"{namespaced}/serviceaccounts/coredns",
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _named("coredns")},
        ),
        *_cluster_role("system:coredns", rules, subject=account),
        (f"{namespaced}/configmaps/coredns", config),
        (f"{namespaced}/services/kube-dns", _dns_service(network)),
        ("/apis/apps/v1/namespaces/kube-system/daemonsets/coredns", _coredns_daemon_set()),
    ]


def kwok_nodes(settings: Settings) -> list[tuple[str, Object]]:
    """Nodes that only the API knows; KWOK keeps them, and the pods on them, ready."""
    return [
        (f"/api/v1/nodes/{name}", _kwok_node(name, gpus=settings.gpus(name))) for name in settings.node_names
    ]


def kwok_node_statuses(settings: Settings) -> list[tuple[str, Object]]:
    """What those nodes offer; capacity is part of the status."""
    return [
        (f"/api/v1/nodes/{name}/status", _kwok_status(settings, gpus=settings.gpus(name), name=name))
        for name in settings.node_names
    ]


def _kwok_node(name: str, *, gpus: int) -> Object:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if gpus:
        labels.update(GPU_POOL_LABEL)
    metadata = {"name": name, "labels": labels, "annotations": {KWOK_ANNOTATION: "fake"}}
    spec = {"taints": [GPU_TAINT]} if gpus else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def _kwok_status(settings: Settings, *, gpus: int, name: str) -> Object:
    offered = {
        "cpu": "32",
        "memory": f"{settings.node_memory_gib}Gi",
        "pods": "110",
        "ephemeral-storage": "100Gi",
    }
    if gpus:
        offered["nvidia.com/gpu"] = str(gpus)
    status = {"capacity": offered, "allocatable": offered}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def _named(name: str) -> Object:
    return {"name": name, "namespace": "kube-system", "labels": dict(_DNS_LABELS)}


def _cluster_role(name: str, rules: list[Object], *, subject: Object) -> list[tuple[str, Object]]:
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [subject],
    }
    return [
        (f"/apis/{_RBAC}/v1/clusterroles/{name}", role),
        (f"/apis/{_RBAC}/v1/clusterrolebindings/{name}", binding),
    ]


def _dns_service(network: Network) -> Object:
    ports = [
        {"name": f"dns-{p.lower()}", "port": 53, "targetPort": 53, "protocol": p} for p in ("UDP", "TCP")
    ]
    spec = {
        "clusterIP": str(network.dns_service),
        "selector": _DNS_LABELS,
        "ports": ports,
        "internalTrafficPolicy": "Local",
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": _named("kube-dns"), "spec": spec}


def _coredns_daemon_set() -> Object:
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns-udp", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        # The default period of ten seconds would be most of a boot.
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 30},
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    template = {"metadata": {"labels": _DNS_LABELS}, "spec": pod}
    spec = {"selector": {"matchLabels": _DNS_LABELS}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _named("coredns"), "spec": spec}
