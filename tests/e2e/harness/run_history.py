"""What a run left in S3: its commit log, and the samples and losses of every step of every epoch.

Reads with boto3 and not with the project's own store, so that a fault of the one is not hidden by the other.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlparse

import boto3
from botocore.config import Config


@dataclass(frozen=True)
class StepRecord:
    epoch: int
    step: int
    loss: float
    sample_ids: tuple[int, ...]


@dataclass(frozen=True)
class RunHistory:
    log: list[dict[str, Any]]
    steps: dict[int, list[StepRecord]] = field(default_factory=dict)  # by step, in the order of epochs

    @property
    def epochs(self) -> list[int]:
        return [record["epoch"] for record in self.log if record["kind"] == "epoch"]

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        return [record for record in self.log if record["kind"] == "checkpoint"]

    def losses(self) -> dict[int, float]:
        """Of the newest epoch that took the step: the one that the model went through."""
        return {step: records[-1].loss for step, records in sorted(self.steps.items())}

    def sample_ids(self) -> dict[int, set[tuple[int, ...]]]:
        """By step, the different batches that any epoch took: one each in a run without a fault."""
        return {
            step: {record.sample_ids for record in records} for step, records in sorted(self.steps.items())
        }


@dataclass(frozen=True)
class Bucket:
    """An account's view of S3 from the host."""

    endpoint_url: str
    access_key: str
    secret_key: str

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 5}, s3={"addressing_style": "path"}),
        )

    def keys(self, uri: str) -> list[str]:
        """Keys below the URI, whole, sorted."""
        bucket, prefix = split_uri(uri)
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def read(self, uri: str) -> bytes:
        bucket, key = split_uri(uri)
        body: bytes = self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def put(self, uri: str, content: bytes) -> None:
        bucket, key = split_uri(uri)
        self.client().put_object(Bucket=bucket, Key=key, Body=content)

    def delete(self, uri: str) -> None:
        bucket, key = split_uri(uri)
        self.client().delete_object(Bucket=bucket, Key=key)


def split_uri(uri: str) -> tuple[str, str]:
    parsed = urlparse(uri)
    return parsed.netloc, parsed.path.lstrip("/")


def read_history(bucket: Bucket, uri: str) -> RunHistory:
    """Of the job whose storage.uri it is."""
    name, _ = split_uri(uri)
    log, steps = [], defaultdict(list)
    for key in bucket.keys(f"{uri}/log/"):
        log.append(json.loads(bucket.read(f"s3://{name}/{key}")))
    for key in bucket.keys(f"{uri}/runs/"):
        if not key.rsplit("/", 1)[-1].startswith("metrics") or not key.endswith(".jsonl"):
            continue
        for line in bucket.read(f"s3://{name}/{key}").splitlines():
            entry = json.loads(line)
            if "sampleIds" in entry:
                record = StepRecord(entry["epoch"], entry["step"], entry["loss"], tuple(entry["sampleIds"]))
                steps[record.step].append(record)
    for records in steps.values():
        records.sort(key=lambda record: record.epoch)
    return RunHistory(log=log, steps=dict(steps))
