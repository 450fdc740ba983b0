"""Rights in a bucket's policy: each user's own, and changed without touching another's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from deepseek_demo.object_store import Credentials, ObjectStore

BUCKET = "research"


class _InMemory(ObjectStore):
    def client(self, credentials: Credentials | None = None) -> Any:
        return boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with mock_aws():
        made = _InMemory("http://pods", "http://host", Credentials("root", "secret"), Path("versitygw"))
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


def test_secrets_are_not_shown() -> None:
    made = Credentials.generate("alice")
    assert made.secret_key not in repr(made)
    assert made.secret_key != Credentials.generate("alice").secret_key
