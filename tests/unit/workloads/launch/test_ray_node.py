import socket
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
