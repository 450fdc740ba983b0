"""A real file store, and the others against servers in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from local_object_store.in_process import in_process_server
from local_object_store.in_process_google import SERVICE_ACCOUNT_KEY, in_process_google_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "GOOGLE_SERVICE_ACCOUNT_KEY": SERVICE_ACCOUNT_KEY,
}
QUICK = RetryPolicy(attempts=3, base_seconds=0.01)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with in_process_server() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def s3_storage(s3_endpoint: str, request: pytest.FixtureRequest) -> Storage:
    """A fresh bucket for each test."""
    return Storage(uri=f"s3://{_bucket(s3_endpoint, request)}/some/prefix", endpoint_url=s3_endpoint)


@pytest.fixture(scope="session")
def google_endpoint() -> Iterator[str]:
    with in_process_google_server() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def google_storage(google_endpoint: str, request: pytest.FixtureRequest) -> Storage:
    bucket = _bucket(google_endpoint, request)
    return Storage(uri=f"gs://{bucket}/some/prefix", endpoint_url=google_endpoint)


def _bucket(endpoint_url: str, request: pytest.FixtureRequest) -> str:
    import boto3

    bucket = f"bucket-{abs(hash(request.node.nodeid)):x}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    return bucket


@pytest.fixture(params=["file", "s3fs", "obstore", "google"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "file":
        storage = Storage(uri=f"file://{tmp_path}/store")
    elif request.param == "google":
        storage = request.getfixturevalue("google_storage")
    else:
        storage = request.getfixturevalue("s3_storage")
    opened = open_store(storage, environ=CREDENTIALS, retry=QUICK, fast_reads=request.param == "obstore")
    yield opened
    opened.close()
