"""A real file store, and S3ObjectStore against an in-process S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from local_object_store.in_process import in_process_server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
QUICK = RetryPolicy(attempts=3, base_seconds=0.01)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with in_process_server() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def s3_storage(s3_endpoint: str, request: pytest.FixtureRequest) -> Storage:
    """A fresh bucket for each test."""
    import boto3

    bucket = f"bucket-{abs(hash(request.node.nodeid)):x}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=bucket)
    return Storage(uri=f"s3://{bucket}/some/prefix", endpoint_url=s3_endpoint)


@pytest.fixture(params=["file", "s3fs", "obstore"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "file":
        storage = Storage(uri=f"file://{tmp_path}/store")
    else:
        storage = request.getfixturevalue("s3_storage")
    opened = open_store(storage, environ=CREDENTIALS, retry=QUICK, fast_reads=request.param == "obstore")
    yield opened
    opened.close()
