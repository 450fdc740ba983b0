"""Buckets, users and what a user may do, on a running versitygw.

It knows the server's administration API and S3's bucket policies, nothing about Kubernetes. Secrets travel in
the bodies of requests: a command line is everybody's to read.
"""

import json
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as SigningKey
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session

from deepseek_demo.commands import StepFailed

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
    are plain files (BUCKET/KEY), if this machine sees them.
    """

    endpoint_url: str
    host_endpoint_url: str
    root: Credentials
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
        """Create the account, or give the existing one this secret. A new account may use nothing.

        Raises StepFailed.
        """
        account = {"Access": credentials.access_key, "Secret": credentials.secret_key, "Role": "user"}
        if self._admin("create-user", _xml("Account", account)) == HTTPStatus.CONFLICT:
            change = _xml("MutableProps", {"Secret": credentials.secret_key})
            self._admin("update-user", change, access=credentials.access_key)

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

    def _admin(self, call: str, body: bytes, **query: str) -> int:
        """The HTTP status of the answer: a success, or a conflict. Raises StepFailed for any other."""
        request = AWSRequest("PATCH", f"{self.host_endpoint_url}/{call}", data=body, params=query)
        S3SigV4Auth(SigningKey(self.root.access_key, self.root.secret_key), "s3", REGION).add_auth(request)
        try:
            answer = URLLib3Session(timeout=30).send(request.prepare())
        except BotoCoreError as error:
            raise StepFailed(f"{call} at {self.host_endpoint_url}: {error}") from error
        if answer.status_code >= HTTPStatus.BAD_REQUEST and answer.status_code != HTTPStatus.CONFLICT:
            said = answer.text[:500]
            raise StepFailed(f"{call} at {self.host_endpoint_url}: {answer.status_code}: {said}")
        return int(answer.status_code)


def _xml(name: str, fields: dict[str, str]) -> bytes:
    root = ET.Element(name)
    for field_name, value in fields.items():
        ET.SubElement(root, field_name).text = value
    return ET.tostring(root)


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
