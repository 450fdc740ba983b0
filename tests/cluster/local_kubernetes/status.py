"""Says what a running cluster is and how to reach it, for people and for programs."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from local_kubernetes.cluster import Cluster


def describe(cluster: Cluster) -> dict[str, Any]:
    """Plain data: strings, numbers and lists."""
    return {
        "name": cluster.settings.name,
        "mode": cluster.settings.mode,
        "api": cluster.api_url,
        "kubeconfig": str(cluster.kubeconfig),
        "kubectl": str(cluster.kubectl),
        "stateDir": str(cluster.settings.state_dir),
        "volumesDir": str(cluster.volumes_dir),
        "auditLog": str(cluster.audit_log),
        "podCIDR": str(cluster.network.pod_cidr),
        "serviceCIDR": str(cluster.network.service_cidr),
        "nodes": _nodes(cluster),
    }


def render(description: Mapping[str, Any]) -> str:
    """A table of the nodes below the facts."""
    rows: list[tuple[str, ...]] = [("NODE", "READY", "POWER", "ADDRESS", "CPU", "MEMORY", "GPUS", "PODS")]
    rows += [
        tuple(
            str(node[key]) for key in ("name", "ready", "power", "address", "cpu", "memory", "gpus", "pods")
        )
        for node in description["nodes"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    keys = ("name", "mode", "api", "kubeconfig", "volumesDir", "auditLog")
    facts = [f"{key + ':':<12} {description[key]}" for key in keys]
    bin_dir = PurePath(description["kubectl"]).parent
    use = [f"export KUBECONFIG={description['kubeconfig']}", f"export PATH={bin_dir}:$PATH   # kubectl"]
    return "\n".join([*facts, "", *table, "", *use])


def _nodes(cluster: Cluster) -> list[dict[str, Any]]:
    pods = cluster.api.items("/api/v1/pods")
    described = []
    for node in cluster.api.items("/api/v1/nodes"):
        name = node["metadata"]["name"]
        status = node["status"]
        conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
        addresses = {address["type"]: address["address"] for address in status.get("addresses", [])}
        allocatable = status.get("allocatable", {})
        described.append(
            {
                "name": name,
                "ready": conditions.get("Ready", "Unknown"),
                "power": _power(cluster, name),
                "address": addresses.get("InternalIP", ""),
                "cpu": allocatable.get("cpu", ""),
                "memory": allocatable.get("memory", ""),
                "gpus": int(allocatable.get("nvidia.com/gpu", "0")),
                "pods": sum(1 for pod in pods if pod["spec"].get("nodeName") == name),
            }
        )
    return described


def _power(cluster: Cluster, node: str) -> str:
    if cluster.settings.mode == "control-plane" or node not in cluster.nodes:
        return "simulated"
    return "on" if cluster.is_node_running(node) else "off"
