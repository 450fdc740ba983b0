"""gs:// and az://: what is sent, what a store that ignores conditions is told, and what errors mean.

The promises of every store are in `test_object_store`, for gs:// as well.
"""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import (
    AccessDenied,
    AlreadyExists,
    BucketNotFound,
    InvalidCredentials,
    StoreError,
    StoreUnavailable,
)
from deepseek_workloads.store.open import InvalidStorageUri, open_store
from deepseek_workloads.store.probe import UnsafeStore, check_conditional_writes
from deepseek_workloads.store.retry import RetryPolicy
from local_object_store import Proxy
from local_object_store.in_process_google import SERVICE_ACCOUNT_KEY, in_process_google_server

GOOGLE = {"GOOGLE_SERVICE_ACCOUNT_KEY": SERVICE_ACCOUNT_KEY}
AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0"}
QUICK = RetryPolicy(attempts=3, base_seconds=0.01)


def test_a_store_that_ignores_the_condition_is_refused() -> None:
    with in_process_google_server(conditions=False) as endpoint_url:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket="careless")
        client.close()
        storage = Storage(uri="gs://careless/run", endpoint_url=endpoint_url)
        store = open_store(storage, environ=GOOGLE, retry=QUICK)
        with pytest.raises(UnsafeStore, match="gs://careless/run"):
            check_conditional_writes(store)


def test_a_busy_store_is_asked_again_within_the_budget(google_storage: Storage) -> None:
    assert google_storage.endpoint_url is not None
    with Proxy(google_storage.endpoint_url) as proxy:
        storage = google_storage.model_copy(update={"endpoint_url": proxy.endpoint_url})
        store = open_store(storage, environ=GOOGLE, retry=QUICK)
        proxy.fail("busy", "reset", method="PUT")
        store.create("log/00000001.json", b"{}")
        assert (store.read("log/00000001.json"), store.retries) == (b"{}", 2)
        proxy.fail("busy", "busy", "busy", method="GET")
        with pytest.raises(StoreUnavailable, match="log/00000001"):
            store.read("log/00000001.json")


def test_a_missing_bucket_is_told_from_a_missing_object(google_storage: Storage) -> None:
    storage = google_storage.model_copy(update={"uri": "gs://nobody-has-it/run"})
    with pytest.raises(BucketNotFound, match="nobody-has-it"):
        open_store(storage, environ=GOOGLE, retry=QUICK).put("key", b"1")


class _Blob(BaseHTTPRequestHandler):
    """Answers as Azure Blob Storage does (https://learn.microsoft.com/rest/api/storageservices)."""

    server: "_Account"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers)))
        status, code = self.server.answers.pop(0)
        document = f"<Error><Code>{code}</Code><Message>{self.path}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(document)))
        self.send_header("ETag", '"0x8D"')
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, *_: object) -> None:
        """Silent."""


class _Account(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Blob)
        self.answers: list[tuple[int, str]] = []
        self.seen: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def account() -> Iterator[_Account]:
    server = _Account()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_create_in_azure_sends_its_condition_and_knows_the_answer(account: _Account) -> None:
    store = open_store(Storage(uri="az://models/tiny", endpoint_url=account.url), environ=AZURE, retry=QUICK)
    account.answers = [(201, ""), (409, "BlobAlreadyExists"), (201, "")]
    store.create("log/00000001.json", b"{}")
    with pytest.raises(AlreadyExists, match="az://models/tiny/log/00000001"):
        store.create("log/00000001.json", b"{}")
    store.put("data/x", b"1")
    (path, first), (_, second), (_, put) = account.seen
    assert path == "/models/tiny/log/00000001.json"
    assert (first["if-none-match"], second["if-none-match"]) == ("*", "*")
    assert "if-none-match" not in put
    assert first["authorization"].startswith("SharedKey account:")


@pytest.mark.parametrize(
    ("answer", "error"),
    [((403, "AuthorizationFailure"), AccessDenied), ((404, "ContainerNotFound"), BucketNotFound)],
)
def test_what_azure_refuses_is_said_without_the_signature(
    account: _Account, answer: tuple[int, str], error: type[StoreError]
) -> None:
    signed = AZURE | {"AZURE_STORAGE_ACCOUNT_KEY": "", "AZURE_STORAGE_SAS_KEY": "sv=1&sig=SECRET"}
    store = open_store(Storage(uri="az://models/tiny", endpoint_url=account.url), environ=signed, retry=QUICK)
    account.answers = [answer]
    with pytest.raises(error, match="az://models/tiny/key") as failure:
        store.put("key", b"1")
    assert "sig=SECRET" in account.seen[0][0]
    assert "SECRET" not in str(failure.value)


def test_credentials_that_are_none_are_named_by_their_variables() -> None:
    environ = {"GOOGLE_SERVICE_ACCOUNT_KEY": "not-json-SECRET"}
    with pytest.raises(InvalidCredentials, match="GOOGLE_SERVICE_ACCOUNT_KEY") as failure:
        open_store(Storage(uri="gs://models/tiny"), environ=environ)
    assert "SECRET" not in re.sub("credentials Secret", "", str(failure.value))


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepseek_workloads.store.open.is_installed", lambda: False)
    with pytest.raises(InvalidStorageUri, match="fast-reads"):
        open_store(Storage(uri="gs://models/tiny"), environ=GOOGLE)
