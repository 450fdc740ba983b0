"""Buckets, users and what a user may do, on a running versitygw.

It knows the server's administration commands and S3's bucket policies, nothing about Kubernetes.
"""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from deepseek_demo.commands import output

REGION = "us-east-1"
_OBJECT_ACTIONS = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
_BUCKET_ACTIONS = ("s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads")


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret, which no representation shows."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def generate(cls, access_key: str) -> "Credentials":
        """A new secret for that key."""
        return cls(access_key, secrets.token_urlsafe(30))


@dataclass(frozen=True)
class ObjectStore:
    """A running server as its administrator sees it.

    `endpoint_url` is how pods reach it, `host_endpoint_url` how this machine does. `data` is where objects
    are plain files (BUCKET/KEY), if this machine sees them. `program` is the server's binary: its CLI, too.
    """

    endpoint_url: str
    host_endpoint_url: str
    root: Credentials
    program: Path
    data: Path | None = None

    def client(self, credentials: Credentials | None = None) -> Any:
        """A boto3 S3 client from this machine, as root unless told otherwise."""
        who = credentials or self.root
        return boto3.client(
            "s3",
            endpoint_url=self.host_endpoint_url,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"}),
        )

    def create_bucket(self, name: str) -> None:
        """Create the bucket unless it exists."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            return

    def create_user(self, credentials: Credentials) -> None:
        """Create the account, or give the existing one this secret. A new account may use nothing."""
        key = ["--access", credentials.access_key]
        secret = ["--secret", credentials.secret_key]
        known = {line.split()[0] for line in self._admin("list-users").splitlines() if line.split()}
        if credentials.access_key in known:
            self._admin("update-user", *key, *secret)
        else:
            self._admin("create-user", *key, *secret, "--role", "user")

    def allow(self, user: str, *, bucket: str, prefix: str = "") -> None:
        """Let `user` read, write, delete and list below `prefix` of the bucket: all of it by default.

        Replaces what the bucket's policy says of the user and keeps what it says of others.
        """
        client = self.client()
        kept = [
            entry for entry in _statements(client, bucket) if not str(entry["Sid"]).startswith(_sid(user))
        ]
        policy = {"Version": "2012-10-17", "Statement": [*kept, *_grants(user, bucket, prefix)]}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def _admin(self, *arguments: str) -> str:
        environ = {
            "ADMIN_ACCESS_KEY_ID": self.root.access_key,
            "ADMIN_SECRET_ACCESS_KEY": self.root.secret_key,
            "ADMIN_ENDPOINT_URL": self.host_endpoint_url,
            "ADMIN_REGION": REGION,
        }
        return output([str(self.program), "admin", *arguments], environ=environ)


def _grants(user: str, bucket: str, prefix: str) -> list[dict[str, Any]]:
    """Bucket policies name buckets and objects by ARN; listing is a right on the bucket."""
    whose = {"Effect": "Allow", "Principal": {"AWS": [user]}}
    objects = f"arn:aws:s3:::{bucket}/{prefix}*"
    return [
        {"Sid": f"{_sid(user)}Objects", **whose, "Action": list(_OBJECT_ACTIONS), "Resource": objects},
        {
            "Sid": f"{_sid(user)}Bucket",
            **whose,
            "Action": list(_BUCKET_ACTIONS),
            "Resource": f"arn:aws:s3:::{bucket}",
        },
    ]


def _sid(user: str) -> str:
    """A statement's name has letters and digits only."""
    return "User" + user.encode().hex() + "X"


def _statements(client: Any, bucket: str) -> list[dict[str, Any]]:
    try:
        policy = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucketPolicy":
            return []
        raise
    statements: list[dict[str, Any]] = policy["Statement"]
    return statements
