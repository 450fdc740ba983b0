"""versitygw and the proxy as processes of their own, ended with their `with`."""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_kubernetes import binary

_READY_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def environ(self) -> dict[str, str]:
        """The keys under the names that clients of S3 look for."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Buckets are folders of `folder/buckets`, objects plain files in them (on a file system with extended
    attributes). Raises RuntimeError with the server's own words where it does not start."""
    for part in ("buckets", "iam"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = Server(f"http://{address}", "root", secrets.token_urlsafe(30))
    command = [str(binary("versitygw")), "--port", address, "--iam-dir", str(folder / "iam"), "--quiet"]
    keys = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "posix", str(folder / "buckets")], env=keys, stdout=output, stderr=output
        )
        try:
            _wait_for(address, process, log)
            yield server
        finally:
            process.terminate()
            process.wait()


@contextmanager
def proxy_process(upstream: str, *, latency_ms: float) -> Iterator[str]:
    """The endpoint URL of a proxy that adds latency only; to break requests, use `Proxy` in this process."""
    command = [sys.executable, "-m", "local_object_store", "--upstream", upstream]
    process = subprocess.Popen(
        [*command, "--latency-ms", str(latency_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"versitygw at {address}: {log.read_text()[-2000:]}") from None
            time.sleep(0.02)
