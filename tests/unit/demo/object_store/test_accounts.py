"""Rights in a bucket's policy: each user's own, and changed without touching another's."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, ClassVar

import boto3
import pytest
from moto import mock_aws

from deepseek_demo.commands import StepFailed
from deepseek_demo.object_store import Credentials, ObjectStore

BUCKET = "research"


class _InMemory(ObjectStore):
    def client(self, credentials: Credentials | None = None) -> Any:
        return boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with mock_aws():
        made = _InMemory("http://pods", "http://host", Credentials("root", "secret"))
        made.create_bucket(BUCKET)
        yield made


def statements(store: ObjectStore) -> list[dict[str, Any]]:
    policy = json.loads(store.client().get_bucket_policy(Bucket=BUCKET)["Policy"])
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def resources_of(store: ObjectStore, user: str) -> set[str]:
    return {entry["Resource"] for entry in statements(store) if entry["Principal"]["AWS"] == [user]}


def test_a_bucket_may_exist_already(store: ObjectStore) -> None:
    store.create_bucket(BUCKET)
    assert [bucket["Name"] for bucket in store.client().list_buckets()["Buckets"]] == [BUCKET]


def test_a_user_gets_the_bucket_and_what_is_below_the_prefix(store: ObjectStore) -> None:
    store.allow("alice", bucket=BUCKET, prefix="alice/")
    assert resources_of(store, "alice") == {"arn:aws:s3:::research", "arn:aws:s3:::research/alice/*"}


def test_rights_of_others_stay(store: ObjectStore) -> None:
    store.allow("al", bucket=BUCKET)
    store.allow("alice", bucket=BUCKET)
    store.allow("al", bucket=BUCKET, prefix="own/")
    assert resources_of(store, "alice") == {"arn:aws:s3:::research", "arn:aws:s3:::research/*"}
    assert resources_of(store, "al") == {"arn:aws:s3:::research", "arn:aws:s3:::research/own/*"}


def test_allowing_again_changes_nothing(store: ObjectStore) -> None:
    store.allow("alice", bucket=BUCKET)
    before = statements(store)
    store.allow("alice", bucket=BUCKET)
    assert statements(store) == before


def test_nobody_may_change_the_bucket_itself(store: ObjectStore) -> None:
    store.allow("alice", bucket=BUCKET)
    actions = {action for entry in statements(store) for action in entry["Action"]}
    assert not actions & {"s3:*", "s3:PutBucketPolicy", "s3:DeleteBucket", "s3:PutBucketAcl"}


class _Administration(BaseHTTPRequestHandler):
    """Takes down what it is asked; answers with the statuses that it was given, one after another."""

    asked: ClassVar[list[tuple[str, str, str]]]
    statuses: ClassVar[list[int]]

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, self.headers["Authorization"].split("/")[0], body))
        self.send_response(self.statuses.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def administration() -> Iterator[tuple[ObjectStore, type[_Administration]]]:
    handler = type("Handler", (_Administration,), {"asked": [], "statuses": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield ObjectStore(url, url, Credentials("root", "hidden")), handler
        server.shutdown()
        thread.join()


def test_a_user_is_made_by_a_signed_request_that_no_command_line_shows(administration: Any) -> None:
    store, server = administration
    server.statuses[:] = [201]
    store.create_user(Credentials("alice", "a<b&c"))
    ((path, signed_by, body),) = server.asked
    assert (path, signed_by) == ("/create-user", "AWS4-HMAC-SHA256 Credential=root")
    assert body == "<Account><Access>alice</Access><Secret>a&lt;b&amp;c</Secret><Role>user</Role></Account>"


def test_a_user_that_exists_gets_the_new_secret(administration: Any) -> None:
    store, server = administration
    server.statuses[:] = [409, 200]
    store.create_user(Credentials("alice", "new"))
    path, _, body = server.asked[1]
    assert path == "/update-user?access=alice"
    assert body == "<MutableProps><Secret>new</Secret></MutableProps>"


def test_a_refusal_does_not_show_the_secret(administration: Any) -> None:
    store, server = administration
    server.statuses[:] = [403]
    with pytest.raises(StepFailed, match=r"create-user.*403") as refused:
        store.create_user(Credentials("alice", "my-secret"))
    assert "my-secret" not in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    made = Credentials.generate("alice")
    assert made.secret_key not in repr(made)
    assert made.secret_key != Credentials.generate("alice").secret_key
