"""A drift check as its pod runs it: the module's own entry point, over a real S3 server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from deepseek_workloads.contract.messages import DriftVerdict
from deepseek_workloads.contract.run_config import (
    DatasetRun,
    Owner,
    RawSource,
    Storage,
    TokenizerTraining,
    Workers,
)
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.store.open import open_store
from local_object_store import running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def put(server) -> Callable[[str, str], None]:
    """Lines of a raw object."""
    key, secret = (server.environ[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    client = boto3.client(
        "s3", endpoint_url=server.endpoint_url, aws_access_key_id=key, aws_secret_access_key=secret
    )
    client.create_bucket(Bucket="corpus")

    def put(name: str, text: str) -> None:
        lines = "\n".join(json.dumps({"text": text.format(n=n), "language": "en"}) for n in range(300))
        client.put_object(Bucket="corpus", Key=f"raw/{name}.jsonl", Body=lines.encode())

    return put


@pytest.fixture
def run(server) -> DatasetRun:
    storage = Storage(uri="s3://corpus/raw", endpoint_url=server.endpoint_url)
    return DatasetRun(
        owner=Owner(namespace="n", name="d", uid="u"),
        raw_sources=[RawSource(name="raw", uri="s3://corpus/raw", format="jsonl", include=["*.jsonl"])],
        raw_storage=storage,
        tokenizer=TokenizerTraining(vocab_size=300),
        workers=Workers(num_nodes=1),
        storage=storage.model_copy(update={"uri": "s3://corpus/out"}),
    )


@pytest.fixture
def check(run, server, tmp_path) -> Callable[[str], tuple[int, DriftVerdict]]:
    config, verdict = tmp_path / "run-config.json", tmp_path / "termination-log"
    config.write_bytes(run.to_json())

    def check(digest: str) -> tuple[int, DriftVerdict]:
        files = ["--run-config", str(config), "--verdict-file", str(verdict)]
        asked = ["--digest", digest, "--documents", "1000", "--seed", "1"]
        done = subprocess.run(
            [sys.executable, "-m", "deepseek_workloads.launch.drift_check", *files, *asked],
            env={**os.environ, **server.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "workloads")},
            check=False,
        )
        return done.returncode, DriftVerdict.model_validate_json(verdict.read_bytes())

    return check


def test_what_is_new_in_the_bucket_is_compared_with_what_was_prepared(
    put, run, check, server, monkeypatch
) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    put("first", "Page {n} of the worker tells of its task, and of {n} more.")
    prepared = prepare(run, open_store=open_store, executor=LocalExecutor(), report=lambda _: None)
    assert prepared.outcome == "Succeeded", prepared
    code, nothing = check(prepared.digest)
    assert (code, nothing.outcome) == (0, "NothingNew")

    put("second", "Page {n} " * 60)
    code, verdict = check(prepared.digest)
    assert (code, verdict.outcome, verdict.new_objects, verdict.documents) == (0, "Compared", 1, 300)
    assert verdict.divergences["length"] > 0.25 > verdict.divergences["outcome"]


def test_a_dataset_that_is_gone_is_a_failure_to_try_again(put, check) -> None:
    code, verdict = check("sha256:" + "0" * 64)
    assert code == 75
    assert verdict.outcome == "Failed"
