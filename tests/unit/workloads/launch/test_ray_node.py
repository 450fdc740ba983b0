import socket
import subprocess
import sys
import threading

from deepseek_workloads.launch.ray_node import wait_for_port

SECONDS = 20


def test_a_head_that_is_not_there_yet_is_waited_for() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        waiter = threading.Thread(target=wait_for_port, args=("127.0.0.1", port), daemon=True)
        waiter.start()
        assert waiter.is_alive()
        reserved.listen()
        waiter.join(SECONDS)
        assert not waiter.is_alive()


def test_rays_command_starts_nodes_without_the_groups_that_are_left_out() -> None:
    code = """
import sys
from deepseek_workloads.launch.ray_node import ray_command
assert "start" in ray_command().cli.commands
print([name for name in ("pandas", "fastapi", "torch") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
