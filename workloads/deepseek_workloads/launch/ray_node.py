"""`ray start` on a pod. A worker imports Ray first, then waits for the head's port: both start at once.

`python -m deepseek_workloads.launch.ray_node <arguments of ray start>`; ends when Ray ends.
"""

import socket
import sys
import time
from typing import Any

POLL_SECONDS = 0.05
CONNECT_SECONDS = 1.0


def main(arguments: list[str]) -> None:
    from ray.scripts import scripts

    leave_out_unused_servers()
    address = next((a.removeprefix("--address=") for a in arguments if a.startswith("--address=")), None)
    if address is not None:
        host, _, port = address.rpartition(":")
        wait_for_port(host, int(port))
    sys.argv = ["ray", "start", *arguments]
    scripts.main()


def leave_out_unused_servers() -> None:
    """No Jobs API in the agents, no Ray Client server, no dashboard process on the head (it serves nothing,
    yet a start waits for it): a Ray without its `default` and `client` extras, which Ray Serve brings along.
    Each is a Python process or an open port that nobody uses on these pods."""
    from ray._private import services, utils
    from ray.scripts import scripts

    absent = ImportError("not used on the pods of a run")
    utils.get_dashboard_dependency_error = lambda: absent
    scripts.get_ray_client_dependency_error = lambda: absent
    services.start_api_server = _name_no_api_server


def _name_no_api_server(
    _include: bool,
    _raise: bool,
    _host: str,
    gcs_address: str,
    cluster_id: str,
    node_ip: str,
    *_: Any,
    **__: Any,
) -> tuple[str, None]:
    """Agents ask the GCS for its address every second until they get one, and then send it nothing."""
    from ray._private import ray_constants
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    GcsClient(address=gcs_address, cluster_id=cluster_id).internal_kv_put(
        ray_constants.DASHBOARD_ADDRESS.encode(),
        f"http://{node_ip}".encode(),
        True,
        namespace=ray_constants.KV_NAMESPACE_DASHBOARD,
    )
    return "", None


def wait_for_port(host: str, port: int) -> None:
    """Without a limit: the supervisor ends this process when the head's epoch ends."""
    while True:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            return
        except OSError:
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
