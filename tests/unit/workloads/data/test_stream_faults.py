"""A stream over S3 through a proxy that breaks requests: the samples are those of an undisturbed stream, or
it stops and says why."""

import threading
from collections.abc import Iterator
from itertools import islice

import boto3
import numpy as np
import pytest

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.stream import BatchStream
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore, StoreUnavailable
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from local_object_store import Proxy
from local_object_store.in_process import in_process_server

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
RETRY = RetryPolicy(attempts=6, base_seconds=0.001)
STEPS = 40  # 480 of 512 windows, in 16 blocks


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    with in_process_server() as url:
        boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="tokens")
        yield url


@pytest.fixture(scope="module")
def running_proxy(endpoint: str) -> Iterator[Proxy]:
    with Proxy(endpoint) as running:
        yield running


@pytest.fixture
def proxy(running_proxy: Proxy) -> Iterator[Proxy]:
    yield running_proxy
    running_proxy.heal()


@pytest.fixture(scope="module")
def store(running_proxy: Proxy) -> Iterator[ObjectStore]:
    storage = Storage(uri="s3://tokens/set", endpoint_url=running_proxy.endpoint_url)
    opened = open_store(storage, environ=KEYS, retry=RETRY)
    yield opened
    opened.close()


@pytest.fixture
def plan(store: ObjectStore, write_dataset, make_data) -> SamplePlan:
    return SamplePlan(make_data(), [write_dataset(store, [1025, 1024], chunk_tokens=16)])


def test_opening_in_the_midst_takes_one_request_a_block(
    plan: SamplePlan, store: ObjectStore, proxy: Proxy
) -> None:
    """And none to ask what the objects are."""
    before = len(proxy.requests)
    with BatchStream(
        plan,
        [store],
        rank=0,
        world_size=1,
        global_batch_size=12,
        micro_batch_size=12,
        start_sample=10**9,
        prefetch_batches=1,
        end_sample=10**9 + 12,
    ) as stream:
        next(stream)
    asked = proxy.requests[before:]
    samples = plan.locate_many(np.arange(10**9, 10**9 + 12))
    assert {request.partition(" ")[0] for request in asked} == {"GET"}
    pieces = [
        plan.sources[0].space.segments(*plan.sources[0].block_tokens(block))
        for block in np.unique(samples.block)
    ]
    assert len(asked) == sum(map(len, pieces))


def _read(plan: SamplePlan, store: ObjectStore) -> list[tuple[list[int], list[list[int]]]]:
    with BatchStream(
        plan, [store], rank=0, world_size=1, global_batch_size=12, micro_batch_size=12, end_sample=12 * STEPS
    ) as stream:
        return [(batch.sample_ids, batch.input_ids.tolist()) for batch in islice(stream, STEPS)]


FAULTS = {
    "bursts of 5xx": ["busy", "error"] * 3,
    "resets": ["reset", "reset in body", "answer lost"],
    "truncated bodies": ["cut", "none", "cut"],
    # One: a second may meet the same block, when it is read again, which ends the stream.
    "a flipped bit": ["none", "flip"],
    "all of them": ["busy", "flip", "reset", "cut", "error", "reset in body"],
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_samples_are_those_of_an_undisturbed_stream(
    plan: SamplePlan, store: ObjectStore, proxy: Proxy, name: str
) -> None:
    undisturbed = _read(plan, store)
    proxy.fail(*FAULTS[name], method="GET", path="train-")
    assert _read(plan, store) == undisturbed
    assert len(undisturbed) == STEPS


def test_a_store_that_stands_still_for_a_while_is_waited_for(
    plan: SamplePlan, store: ObjectStore, proxy: Proxy
) -> None:
    undisturbed = _read(plan, store)
    proxy.hold()
    threading.Timer(1.0, proxy.release).start()
    assert _read(plan, store) == undisturbed


def test_a_store_that_stays_away_ends_the_stream_with_a_reason(
    plan: SamplePlan, store: ObjectStore, proxy: Proxy
) -> None:
    proxy.fail(*["busy"] * 500)
    with pytest.raises(StoreUnavailable, match=r"train-\d\.bin: .*503.*again later"):
        _read(plan, store)


def test_a_shard_that_is_overwritten_while_it_is_read_is_named(
    plan: SamplePlan, store: ObjectStore, proxy: Proxy
) -> None:
    """Of the same size, and every chunk sound by itself: the ETag tells."""
    with BatchStream(
        plan, [store], rank=0, world_size=1, global_batch_size=12, micro_batch_size=12, read_threads=1
    ) as stream:
        next(stream)
        for key in ("data/train-0.bin", "data/train-1.bin"):
            store.put(key, bytes(reversed(store.read(key))))
        with pytest.raises(ObjectChanged, match=r"train-\d\.bin.*overwritten"):
            list(islice(stream, STEPS))


def test_a_manifest_that_was_edited_by_hand_is_refused(plan: SamplePlan, store: ObjectStore) -> None:
    manifest = plan.manifests[0]
    shard = manifest.train[0].model_copy(update={"tokens": manifest.train[0].tokens + 1})
    store.put("manifest.json", manifest.model_copy(update={"train": [shard]}).to_json())
    with pytest.raises(DatasetError, match=r"manifest\.json: shard data/train-0\.bin.*prepare .* again"):
        load_manifest(store, None)
