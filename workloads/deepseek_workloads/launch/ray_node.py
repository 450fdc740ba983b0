"""`ray start` on a pod. A worker imports Ray first, then waits for the head's port: both start at once.

`python -m deepseek_workloads.launch.ray_node [--preload=MODULES] <arguments of ray start>`; ends with Ray.
With `--preload` Ray keeps a process ready for each of the node's CPUs (on a head: one), which has imported
these modules by the time that somebody needs it.
"""

import argparse
import importlib
import os
import socket
import sys
import time
from types import ModuleType

POLL_SECONDS = 0.05
CONNECT_SECONDS = 1.0


# Groups of the `ray` command with imports of their own (Ray Serve: pandas, FastAPI): 1.4 of the 1.9 s that
# its import takes. The command does without those that are not installed.
UNUSED_COMMANDS = ("ray.serve.scripts", "ray.dashboard.modules.job.cli", "ray.util.state.state_cli")


def main(arguments: list[str]) -> None:
    own, arguments = _parser().parse_known_args(arguments)
    if own.preload:
        os.environ |= {"RAY_enable_worker_prestart": "1", "RAY_preload_python_modules": own.preload}
    scripts = ray_command()
    from deepseek_workloads.launch.ray_services import leave_out_unused_servers

    leave_out_unused_servers()
    address = next((a.removeprefix("--address=") for a in arguments if a.startswith("--address=")), None)
    if address is not None:
        host, _, port = address.rpartition(":")
        wait_for_port(host, int(port))
    sys.argv = ["ray", "start", *arguments]
    scripts.main()


def ray_command() -> ModuleType:
    """The module of the `ray` command, without UNUSED_COMMANDS."""
    for name in UNUSED_COMMANDS:
        sys.modules[name] = None  # type: ignore[assignment]  # to an import: not installed
    return importlib.import_module("ray.scripts.scripts")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--preload", default="")
    return parser


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
