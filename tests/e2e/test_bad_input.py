"""What cannot work is refused in words, with a condition and an Event, and takes no worker's time.

All cases are applied at once; each test then looks at its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

import pytest
from harness.kubectl import KubectlError, condition, conditions_in_words
from harness.platform import Platform, substitute
from harness.resources import dataset as unprepared


@dataclass(frozen=True)
class Case:
    name: str
    change: Mapping[str, Any]
    condition: str  # the type that ends up False (Accepted) or True (Failed)
    reason: str
    words: tuple[str, ...]  # that the message must hold
    worker_pods: int = 0  # that may have been started


CASES = [
    Case(
        "unknown-preset",
        {"model": {"preset": "deepseek-v3-tinny", "architecture": None}},
        "Accepted",
        "UnknownPreset",
        ("spec.model.preset", "deepseek-v3-tinny", "deepseek-v3-tiny"),
    ),
    Case(
        "experts-not-divisible",
        {"model": {"architecture": {"moe": {"nRoutedExperts": 9, "nGroup": 2}}}},
        "Accepted",
        "InvalidArchitecture",
        ("nRoutedExperts", "9"),
    ),
    Case(
        "layout-exceeds-nodes",
        {"training": {"parallelism": {"expertParallelDegree": 4}}},
        "Accepted",
        "InvalidParallelism",
        ("expertParallelDegree", "4"),
    ),
    Case(
        "batch-not-divisible",
        {"training": {"globalBatchSize": 7}},
        "Accepted",
        "InvalidBatchSize",
        ("globalBatchSize", "7"),
    ),
    Case(
        "no-bucket-in-uri",
        {"storage": {"uri": "s3://"}},
        "Accepted",
        "InvalidStorageUri",
        ("spec.storage.uri", "s3://"),
    ),
    Case(
        "no-scheme-in-uri",
        {"storage": {"uri": "/no/scheme"}},
        "Accepted",
        "InvalidStorageUri",
        ("spec.storage.uri", "/no/scheme"),
    ),
    Case(
        "wrong-credentials",
        {"storage": {"secretRef": {"name": "wrong-credentials"}}},
        "Failed",
        "InvalidCredentials",
        ("403", "credentials Secret"),
    ),
    Case(
        "no-such-bucket",
        {"storage": {"uri": "s3://no-such-bucket-here/job"}},
        "Failed",
        "BucketNotFound",
        ("no-such-bucket-here",),
    ),
    Case(
        "missing-dataset-objects",
        {"data": {"sources": [{"name": "corpus", "uri": "s3://BUCKET/no-dataset-here"}]}},
        "Failed",
        "ObjectNotFound",
        ("no-dataset-here/manifest.json",),
    ),
    Case(
        "digest-mismatch",
        {"data": {"sources": [{"name": "corpus", "uri": "DATASET", "digest": "sha256:" + "0" * 64}]}},
        "Failed",
        "DatasetDigestMismatch",
        ("sha256:000000",),
    ),
    Case(
        "tokenizer-too-large",
        {"model": {"architecture": {"vocabSize": 1024}}},
        "Failed",
        "TokenizerTooLarge",
        ("1024", "2048"),
    ),
    Case(
        "image-cannot-be-pulled",
        {"image": "localhost/no-such-image:1", "runPolicy": {"startupDeadlineSeconds": 15}},
        "Failed",
        "ImagePullFailed",
        ("localhost/no-such-image:1",),
    ),
    Case(
        "nan-loss",
        {
            "training": {
                "optimizer": {"learningRate": "1e30"},
                "gradientClipNorm": "1e30",
                "schedule": {"warmupSteps": 0},
            },
            "checkpoint": {"everySteps": 1},
        },
        "Failed",
        "NumericFailure",
        ("loss",),
        worker_pods=2,
    ),
    Case(
        "out-of-memory",
        {"workers": {"resources": {"memory": "300Mi"}}, "runPolicy": {"backoffLimit": 0}},
        "Failed",
        "OOMKilled",
        ("300Mi", "estimate"),
        worker_pods=2,
    ),
]


@pytest.fixture(scope="module")
def applied(platform: Platform, dataset: str) -> dict[str, str]:
    """Case -> name of its job; all of them run side by side."""
    platform.create_secret(
        "wrong-credentials", {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": token_urlsafe()}
    )
    dataset_uri = platform.get("dsdata", dataset)["status"]["uri"]
    return {
        case.name: platform.apply_job(
            case.name,
            dataset,
            substitute(case.change, BUCKET=platform.bucket_name, DATASET=dataset_uri),
        )
        for case in CASES
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_job_that_cannot_work_says_why(platform: Platform, applied: dict[str, str], case: Case) -> None:
    wanted = "False" if case.condition == "Accepted" else "True"
    job = platform.wait_for_condition(applied[case.name], case.condition, status=wanted, deadline_seconds=240)
    found = condition(job, case.condition)
    assert found["reason"] == case.reason, conditions_in_words(job)
    assert all(words in found["message"] for words in case.words), found["message"]
    events = platform.kubectl.events(applied[case.name])
    assert case.reason in {event["reason"] for event in events if event["type"] == "Warning"}
    assert platform.worker_pods(applied[case.name]) == []
    assert platform.worker_pods_ever(applied[case.name]) <= case.worker_pods


def test_nan_keeps_the_last_good_checkpoint(platform: Platform, applied: dict[str, str]) -> None:
    job = platform.wait_until_finished(applied["nan-loss"])
    losses = [record["metrics"]["loss"] for record in platform.history(applied["nan-loss"]).checkpoints]
    assert losses
    assert all(math.isfinite(float(loss)) for loss in losses)
    assert job["status"]["lastCheckpointStep"] == len(losses)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"learningRate": "3e-4"}}, "unknown field"),
        ({"training": {"globalBatchSize": 0}}, "spec.training.globalBatchSize"),
        ({"workers": {"minNodes": 3}}, "minNodes"),
        ({"training": {"tokens": 1000}}, "exactly one of"),
    ],
    ids=["unknown-field", "zero-batch", "min-nodes", "tokens-and-steps"],
)
def test_the_api_server_refuses_what_it_can_see(
    platform: Platform, dataset: str, change: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        platform.apply_job("refused", dataset, change)


def test_a_field_without_effect_is_a_warning(platform: Platform) -> None:
    change = {"workers": {"numNodes": 2, "minNodes": 1}}
    resource = unprepared(
        "warned", raw_uri="s3://b/raw", uri="s3://b/x", endpoint_url="http://s3", change=change
    )
    assert "Warning: " in (said := platform.kubectl.warnings(resource))
    assert "spec.workers.minNodes has no effect" in said


def test_a_name_that_is_too_long_is_refused(platform: Platform, dataset: str) -> None:
    with pytest.raises(KubectlError, match="40"):
        platform.apply_job("a" * 41, dataset)


def test_a_job_that_does_not_fit_waits_and_repeats_the_schedulers_reason(
    platform: Platform, dataset: str
) -> None:
    change = {
        "training": {"globalBatchSize": 10},
        "workers": {
            "numProcPerNode": 5,  # a node of the pool has 4
            "resources": {"gpu": 5},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    }
    name = platform.apply_job("too-many-gpus", dataset, change)
    job = platform.wait_for_condition(
        name, "PodsReady", status="False", reason="Unschedulable", deadline_seconds=90
    )
    assert "Insufficient nvidia.com/gpu" in condition(job, "PodsReady")["message"]
    platform.kubectl.delete("dsjob", name)


def test_a_dataset_without_objects_says_so(platform: Platform) -> None:
    name = platform.apply_dataset("empty", raw_uri=f"s3://{platform.bucket_name}/nothing-here")
    dataset = platform.wait_for_condition(name, "Failed", kind="dsdata", status="True", deadline_seconds=120)
    assert condition(dataset, "Failed")["reason"] == "NoRawObjects"
    assert "nothing-here" in condition(dataset, "Failed")["message"]


def test_a_job_of_a_dataset_that_does_not_exist_waits_in_words(platform: Platform) -> None:
    name = platform.apply_job("no-dataset", "not-there")
    job = platform.wait_for_condition(name, "DatasetsReady", status="False", deadline_seconds=30)
    assert "not-there" in condition(job, "DatasetsReady")["message"]
    assert platform.pods(name) == []
    platform.kubectl.delete("dsjob", name)
