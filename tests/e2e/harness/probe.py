"""A pod that listens on 8080 and can ask what it reaches: one static program, nothing else."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.kubectl import Kubectl, KubectlError
from local_kubernetes import StaticImage, binary

Object = dict[str, Any]
TOLERATE_POOL = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
TCP_LISTEN = "0A"
COORDINATOR_PORTS = (8080, 8081, 6379)  # progress and control, epochs, Ray's GCS
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def probe(version: int = 1) -> StaticImage:
    return StaticImage(
        reference=f"localhost/probe:{version}",
        files={"/probe": (binary("probe").read_bytes(), 0o755)},
        entrypoint=("/probe",),
    )


def probe_pod(
    name: str,
    *,
    node: str | None = None,
    image: str = "localhost/probe:1",
    gpus: int = 0,
    change: Mapping[str, Any] | None = None,
) -> Object:
    """A pod that serves HTTP on 8080 and carries the probe client."""
    container: Object = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["serve"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    spec: Object = {
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "tolerations": [TOLERATE_POOL],
        **(change or {}),
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    if gpus:
        spec["nodeSelector"] = {"pool": "gpu"}
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    metadata = {"name": name, "labels": {"app": name.rsplit("-", 1)[0]}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def wait_ready(kubectl: Kubectl, pod: str) -> str:
    """The address of the pod once it is ready."""
    kubectl.run("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=60s", timeout=70)
    found = kubectl.get("pod", pod)
    assert found is not None
    return str(found["status"]["podIP"])


def reaches(kubectl: Kubectl, pod: str, address: str) -> bool:
    """Whether the pod can open a TCP connection. Raises KubectlError where it could not be asked."""
    try:
        kubectl.run("exec", pod, "--", "/probe", "connect", address)
    except KubectlError as error:
        if "command terminated with exit code" not in error.stderr:
            raise
        return False
    return True


def reached(kubectl: Kubectl, pod: str, addresses: Sequence[str]) -> list[str]:
    """Those that `reaches` is true of; all are tried at once, for a closed one takes the time limit."""
    with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as pool:
        open_ones = pool.map(lambda address: reaches(kubectl, pod, address), addresses)
        return [address for address, is_open in zip(addresses, open_ones, strict=True) if is_open]


def listening_ports(kubectl: Kubectl, pod: str) -> tuple[int, ...]:
    """Of sockets of a pod that has `cat` which are bound to more than IPv4's loopback."""
    table = kubectl.run("exec", pod, "--", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    rows = [line.split() for line in table.splitlines() if ":" in line]
    sockets = [row[1].rsplit(":", 1) for row in rows if len(row) > 3 and row[3] == TCP_LISTEN]
    return tuple(sorted({int(port, 16) for address, port in sockets if address != "0100007F"}))
