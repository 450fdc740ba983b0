"""The proxy over a plain HTTP server: what a client sees of each fault, and that latency overlaps."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from local_object_store import Fault, Proxy

CONTENT = bytes(range(256)) * 1000


class Echo(ThreadingHTTPServer):
    """Answers GET with CONTENT and PUT with what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def _serve(self) -> None:
        self.server.served += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = _serve

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Echo]:
    server = Echo()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(upstream: Echo) -> Iterator[Proxy]:
    with Proxy(f"http://127.0.0.1:{upstream.server_port}") as running:
        yield running


def _request(proxy: Proxy, *, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    with closing(HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=20)) as connection:
        connection.request(method, "/bucket/key", body)
        with connection.getresponse() as response:
            return response.status, response.read()


def test_bodies_pass_both_ways_on_one_connection(proxy: Proxy) -> None:
    connection = HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=20)
    for content in (b"a" * 3_000_000, b"b"):
        connection.request("PUT", "/bucket/key", content)
        assert connection.getresponse().read() == content
    connection.close()


@pytest.mark.parametrize("kind", ["reset", "answer lost", "reset in body", "cut"])
def test_broken_connections(proxy: Proxy, kind) -> None:
    proxy.fail(kind)
    with pytest.raises((OSError, HTTPException)):
        _request(proxy)
    assert _request(proxy) == (200, CONTENT)


@pytest.mark.parametrize(("kind", "status"), [("busy", 503), ("error", 500)])
def test_refusals_do_not_reach_the_server(proxy: Proxy, upstream: Echo, kind, status: int) -> None:
    proxy.fail(kind)
    assert _request(proxy, method="PUT", body=b"x" * 100_000)[0] == status
    assert upstream.served == 0


def test_a_lost_answer_is_of_work_that_was_done(proxy: Proxy, upstream: Echo) -> None:
    proxy.fail("answer lost")
    with pytest.raises((OSError, HTTPException)):
        _request(proxy)
    assert upstream.served == 1


def test_one_bit_flips(proxy: Proxy) -> None:
    proxy.fail("flip")
    _, content = _request(proxy)
    assert sum((a ^ b).bit_count() for a, b in zip(content, CONTENT, strict=True)) == 1


def test_faults_wait_for_the_requests_that_they_are_meant_for(proxy: Proxy) -> None:
    proxy.fail("busy", method="PUT")
    assert _request(proxy)[0] == 200
    assert _request(proxy, method="PUT", body=b"x")[0] == 503
    assert proxy.requests == ["GET /bucket/key", "PUT /bucket/key"]


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="fault 'slow': one of none, busy"):
        Fault("slow")  # type: ignore[arg-type]


def test_no_answer_begins_before_the_latency(proxy: Proxy) -> None:
    proxy.latency_seconds = 0.1
    begun = time.monotonic()
    assert _request(proxy) == (200, CONTENT)
    assert time.monotonic() - begun >= 0.1


def test_requests_wait_together_in_a_held_store_and_are_answered_when_it_is_released(proxy: Proxy) -> None:
    proxy.hold()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(_request, proxy) for _ in range(8)]
        deadline = time.monotonic() + 20
        while len(proxy.requests) < 8 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not any(answer.done() for answer in waiting)
        proxy.release()
        assert [answer.result() for answer in waiting] == [(200, CONTENT)] * 8
