"""From raw objects to batches over the S3 protocol: the same dataset and batches as over a folder."""

import json
from itertools import islice
from pathlib import Path

import boto3
import pytest

from deepseek_workloads.contract.run_config import (
    Data,
    DatasetRun,
    Owner,
    RawSource,
    Source,
    Storage,
    TokenizerTraining,
    Workers,
)
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare.executor import LocalExecutor
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.store.open import open_store
from local_object_store.in_process import in_process_server


@pytest.fixture(scope="module")
def endpoint():
    with in_process_server() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def storages(endpoint, tmp_path: Path, monkeypatch) -> dict[str, Storage]:
    """The same raw objects in a bucket and in a folder."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="datasets")
    lines = [
        json.dumps({"text": f"Page {n} says {n * n} and little more. 第{n}页。" * 4}) for n in range(400)
    ]
    content = "\n".join(lines).encode()
    client.put_object(Bucket="datasets", Key="raw/pages.jsonl", Body=content)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "pages.jsonl").write_bytes(content)
    return {
        "s3": Storage(uri="s3://datasets", endpoint_url=endpoint),
        "file": Storage(uri=f"file://{tmp_path}"),
    }


def _below(storage: Storage, name: str) -> Storage:
    return storage.model_copy(update={"uri": f"{storage.uri}/{name}"})


def _prepare(storage: Storage):
    run = DatasetRun(
        owner=Owner(namespace="n", name="d", uid="u"),
        raw_sources=[RawSource(name="pages", uri=f"{storage.uri}/raw", format="jsonl")],
        raw_storage=storage,
        tokenizer=TokenizerTraining(vocab_size=400),
        held_out_fraction=0.1,
        workers=Workers(num_nodes=1),
        storage=_below(storage, "out"),
    )
    verdict = prepare(run, open_store=open_store, executor=LocalExecutor(threads=2), report=lambda _: None)
    assert verdict.outcome == "Succeeded", verdict
    return verdict.digest


def _batches(storage: Storage, digest: str):
    source = Source(name="pages", storage=_below(storage, "out"), digest=digest)
    store = open_store(source.storage)
    plan = SamplePlan(Data(sources=[source], sequence_length=32, seed=4), [load_manifest(store, digest)])
    options = {"rank": 1, "world_size": 2, "global_batch_size": 8, "micro_batch_size": 2, "start_sample": 24}
    with BatchStream(plan, [store], **options) as stream:
        batches = [(batch.sample_ids, batch.input_ids.tolist()) for batch in islice(stream, 20)]
    store.close()
    return batches


def test_a_bucket_and_a_folder_give_the_same_batches(storages) -> None:
    digests = {name: _prepare(storage) for name, storage in storages.items()}
    over_s3 = _batches(storages["s3"], digests["s3"])
    assert len(over_s3) == 20
    assert over_s3 == _batches(storages["file"], digests["file"])


def test_a_second_run_over_s3_finds_it_published(storages) -> None:
    assert _prepare(storages["s3"]) == _prepare(storages["s3"])
