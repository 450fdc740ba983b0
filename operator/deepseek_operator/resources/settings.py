"""What an installation decides about every pod set: the default image, the GPU resource, the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetworkSettings:
    """Peers of the NetworkPolicies."""

    operator_namespace: str = "deepseek-system"
    # Labels of the operator's pods; empty: every pod of its namespace.
    operator_labels: Mapping[str, str] = field(default_factory=dict)
    # NetworkPolicyPeers that hold the S3 services; empty: any address, on the endpoints' ports.
    storage_peers: tuple[Mapping[str, Any], ...] = ()
    # Ports of S3 services besides those of the endpoint URLs: a Service's target port, where it differs.
    storage_ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class BuildSettings:
    worker_image: str  # of pods whose resource names none
    horovod_worker_image: str = ""  # the same, of jobs with backend horovod
    gpu_resource: str = "nvidia.com/gpu"
    node_lost_seconds: int = 15  # from a node's being marked lost until its pods are replaced
    network: NetworkSettings = NetworkSettings()

    def default_image(self, *, backend: str) -> str:
        """Empty: the installation has none."""
        return self.horovod_worker_image if backend == "horovod" else self.worker_image
