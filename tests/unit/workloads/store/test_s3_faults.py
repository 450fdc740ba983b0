"""Through a proxy that breaks requests: what is tried again, and what a lost answer does to a commit."""

from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store import s3
from deepseek_workloads.store.interface import AlreadyExists, ByteRange, StoreUnavailable
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from deepseek_workloads.store.s3 import S3ObjectStore

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
QUICK = RetryPolicy(attempts=4, base_seconds=0.001)
LEAST_PART = 5 * 1024 * 1024  # bytes, the protocol's least
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to `upstream`; the next requests fail as `faults` says, first one first."""

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.faults: list[str] = []
        self.requests = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _serve(self) -> None:
        proxy = self.server
        proxy.requests += 1
        fault = proxy.faults.pop(0) if proxy.faults else ""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "busy":
            self._answer(503, {}, BUSY)
        elif fault == "reset":
            self.close_connection = True
        else:
            connection = HTTPConnection(proxy.upstream)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            if fault == "answer lost":
                self.close_connection = True
            else:
                self._answer(response.status, dict(response.getheaders()), content, cut=fault == "cut")
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[FaultyProxy]:
    server = FaultyProxy(s3_endpoint)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def store(proxy: FaultyProxy, s3_storage: Storage) -> Iterator[S3ObjectStore]:
    storage = s3_storage.model_copy(update={"endpoint_url": f"http://127.0.0.1:{proxy.server_port}"})
    opened = open_store(storage, environ=CREDENTIALS, retry=QUICK)
    assert isinstance(opened, S3ObjectStore)
    yield opened
    opened.close()


@pytest.mark.parametrize("fault", ["busy", "reset", "answer lost", "cut"])
def test_a_read_is_tried_again(store: S3ObjectStore, proxy: FaultyProxy, fault: str) -> None:
    store.put("key", b"0123456789")
    proxy.faults = [fault, fault]
    assert store.read("key") == b"0123456789"
    proxy.faults = [fault]
    assert store.read_ranges([ByteRange("key", 2, 6)]) == [b"2345"]
    assert 1 <= store.retries <= 3  # aiohttp itself repeats what an idle connection did not answer


def test_a_store_that_stays_busy_is_given_up_within_the_budget(
    store: S3ObjectStore, proxy: FaultyProxy
) -> None:
    proxy.faults = ["busy"] * 100
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        store.read("key")
    assert proxy.requests == QUICK.attempts


def test_an_upload_in_parts_survives_lost_answers(
    store: S3ObjectStore, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_UPLOAD_PART", LEAST_PART)
    content = bytes(range(256)) * (2 * LEAST_PART // 256 + 1)
    (tmp_path / "file").write_bytes(content)
    proxy.faults = ["", "answer lost", "", "busy"]
    store.put_file("big", tmp_path / "file")
    store.get_file("big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_create_whose_answer_was_lost_may_say_that_the_object_exists(
    store: S3ObjectStore, proxy: FaultyProxy
) -> None:
    proxy.faults = ["answer lost"]
    with pytest.raises(AlreadyExists):
        store.create("key", b"mine")
    assert store.read("key") == b"mine"


def test_a_commit_whose_answer_was_lost_is_known_to_have_succeeded_and_is_there_once(
    store: S3ObjectStore, proxy: FaultyProxy
) -> None:
    writer = CommitLog(store).begin_epoch(run_config_digest="")
    proxy.faults = ["answer lost"]
    entry = writer.commit_checkpoint(step=1, consumed_samples=1, tokens=1, prefix="data/x/", files=[])
    assert [found.index for found in CommitLog(store).records()] == [1, entry.index]
