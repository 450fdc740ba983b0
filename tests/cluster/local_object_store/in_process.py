"""An S3 server in a thread of this process: quick, and forgotten with it. For what needs no real one."""

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer


@contextmanager
def in_process_server(*, ip_address: str = "127.0.0.1") -> Iterator[str]:
    """Its URL. It knows no accounts: any keys will do."""
    server = ThreadedMotoServer(ip_address=ip_address, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
