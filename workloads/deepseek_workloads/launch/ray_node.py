"""`ray start` on a pod. A worker imports Ray first, then waits for the head's port: both start at once.

`python -m deepseek_workloads.launch.ray_node <arguments of ray start>`; ends when Ray ends.
"""

import socket
import sys
import time

POLL_SECONDS = 0.05
CONNECT_SECONDS = 1.0


def main(arguments: list[str]) -> None:
    from ray.scripts import scripts

    from deepseek_workloads.launch.ray_services import leave_out_unused_servers

    leave_out_unused_servers()
    address = next((a.removeprefix("--address=") for a in arguments if a.startswith("--address=")), None)
    if address is not None:
        host, _, port = address.rpartition(":")
        wait_for_port(host, int(port))
    sys.argv = ["ray", "start", *arguments]
    scripts.main()


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
