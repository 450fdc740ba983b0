"""The driver's way into the pod's Ray cluster, and the wait for its workers. Only this module asks the GCS.

The one private API here is Ray's GcsClient: `ray.init` itself sleeps a second if it comes too early.
"""

import os
import time
from collections.abc import Callable

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo

from deepseek_workloads.contract import environment

POLL_SECONDS = 0.05
HEAD_SECONDS = 60.0
GCS_REQUEST_SECONDS = 2.0


class NotInTime(Exception):
    """A part of the cluster did not come up within its time limit."""


def connect() -> None:
    """Joins the cluster whose head runs in this pod. Raises NotInTime after HEAD_SECONDS."""
    pod_ip = os.environ[environment.POD_IP]
    address = f"{pod_ip}:{environment.RAY_PORT}"
    deadline = time.monotonic() + HEAD_SECONDS
    while not _node_is_alive(address, pod_ip):
        if time.monotonic() > deadline:
            raise NotInTime(
                f"Ray's head at {address} was not usable within {HEAD_SECONDS:.0f} s; see its log"
            )
        time.sleep(POLL_SECONDS)
    ray.init(address=address, _node_ip_address=pod_ip, log_to_driver=False, logging_level="warning")


def _node_is_alive(address: str, node_ip: str) -> bool:
    try:
        client = GcsClient(address=address)
        nodes = client.get_all_node_info(
            timeout=GCS_REQUEST_SECONDS, state_filter=GcsNodeInfo.GcsNodeState.ALIVE
        ).values()
    except Exception:  # Ray raises its own, grpc's and plain RuntimeErrors while the GCS starts
        return False
    return any(node.node_manager_address == node_ip for node in nodes)


def wait_for_workers(count: int, *, seconds: float, waiting: Callable[[int], None]) -> None:
    """Until `count` nodes that offer CPUs are alive. `waiting` is told the number whenever it changes.

    Raises NotInTime.
    """
    deadline = time.monotonic() + seconds
    seen = -1
    while (alive := worker_nodes()) < count:
        if alive != seen:
            waiting(alive)
            seen = alive
        if time.monotonic() > deadline:
            raise NotInTime(f"{alive} of {count} worker nodes have joined Ray within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def worker_nodes() -> int:
    """Alive nodes that offer CPUs."""
    return sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0)
