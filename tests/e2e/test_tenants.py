"""Two tenants on one bucket: neither gets at the other's objects, nor makes the operator do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from harness.kubectl import Kubectl, KubectlError, condition, conditions_in_words
from harness.platform import NAMESPACE, Object, Platform, merged
from harness.resources import dataset as dataset_resource
from harness.resources import training_job
from harness.waiting import wait_until

from deepseek_demo import object_store

SHARED = "shared"
RIVALS = "rivals"
TEXT = "".join(
    f'{{"text": "Page {n} of what this tenant alone may read: {n * n}."}}\n' for n in range(400)
).encode()


@dataclass(frozen=True)
class Tenant:
    kubectl: Kubectl
    prefix: str  # s3://bucket/prefix


@pytest.fixture(scope="module")
def rival(platform: Platform) -> Tenant:
    """A namespace with an account that may use one prefix of a bucket, whose other prefix is NAMESPACE's."""
    platform.store.create_bucket(SHARED)
    platform.store.allow(platform.bucket.access_key, bucket=SHARED, prefix=f"{NAMESPACE}/")
    account = object_store.Credentials.generate(RIVALS)
    platform.store.create_user(account)
    platform.store.allow(account.access_key, bucket=SHARED, prefix=f"{RIVALS}/")
    kubectl = platform.kubectl.in_namespace(RIVALS)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RIVALS, "labels": labels}},
        object_store.secret(
            "s3-credentials",
            namespace=RIVALS,
            data={"AWS_ACCESS_KEY_ID": account.access_key, "AWS_SECRET_ACCESS_KEY": account.secret_key},
        ),
    )
    platform.bucket.put(f"s3://{SHARED}/{NAMESPACE}/raw/text.jsonl", TEXT)
    as_rival = type(platform.bucket)(platform.bucket.endpoint_url, account.access_key, account.secret_key)
    as_rival.put(f"s3://{SHARED}/{RIVALS}/raw/text.jsonl", TEXT)
    return Tenant(kubectl, f"s3://{SHARED}/{RIVALS}")


def apply_dataset(
    platform: Platform,
    tenant: Tenant,
    name: str,
    *,
    raw: str,
    uri: str,
    change: Mapping[str, Any] | None = None,
) -> None:
    small = {"tokenizer": {"train": {"vocabSize": 300}}}
    tenant.kubectl.apply(
        dataset_resource(
            name,
            raw_uri=raw,
            uri=uri,
            endpoint_url=platform.store.endpoint_url,
            change=merged(small, change or {}),
        )
    )


def ended(tenant: Tenant, kind: str, name: str) -> Object:
    def has_ended(resource: Object) -> bool:
        return any(condition(resource, each)["status"] == "True" for each in ("Succeeded", "Failed"))

    return wait_until(
        lambda: tenant.kubectl.get(kind, name) or {},
        holds=has_ended,
        what=f"{kind}/{name} to end",
        deadline_seconds=120,
        describe=conditions_in_words,
    )


def worker_pods_ever(tenant: Tenant, prefix: str) -> list[str]:
    events = tenant.kubectl.items("events")
    names = {event["involvedObject"]["name"] for event in events if event["reason"] == "Scheduled"}
    return sorted(name for name in names if name.startswith(f"{prefix}-worker-"))


def test_a_tenant_prepares_a_dataset_below_its_own_prefix(platform: Platform, rival: Tenant) -> None:
    apply_dataset(platform, rival, "own", raw=f"{rival.prefix}/raw", uri=f"{rival.prefix}/datasets/own")
    found = ended(rival, "dsdata", "own")
    assert condition(found, "Succeeded")["status"] == "True", conditions_in_words(found)


@pytest.mark.parametrize(
    ("name", "raw", "uri"),
    [
        ("reads-theirs", f"s3://{SHARED}/{NAMESPACE}/raw", f"s3://{SHARED}/{RIVALS}/datasets/stolen"),
        ("writes-theirs", f"s3://{SHARED}/{RIVALS}/raw", f"s3://{SHARED}/{NAMESPACE}/datasets/planted"),
    ],
)
def test_a_dataset_of_anothers_prefix_is_denied(
    platform: Platform, rival: Tenant, name: str, raw: str, uri: str
) -> None:
    apply_dataset(platform, rival, name, raw=raw, uri=uri)
    failed = condition(ended(rival, "dsdata", name), "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "AccessDenied")
    assert worker_pods_ever(rival, f"dsdata-{name}") == []
    assert not platform.bucket.keys(f"s3://{SHARED}/{NAMESPACE}/datasets/")


def test_a_job_on_anothers_dataset_is_denied(platform: Platform, rival: Tenant, dataset: str) -> None:
    digest = platform.get("dsdata", dataset)["status"]["digest"]
    theirs = {"uri": f"s3://{platform.bucket_name}/datasets/{dataset}", "digest": digest}
    rival.kubectl.apply(job(platform, rival, "trains-on-theirs", source=theirs))
    failed = condition(ended(rival, "dsjob", "trains-on-theirs"), "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "AccessDenied")
    assert worker_pods_ever(rival, "dsjob-trains-on-theirs") == []


def test_a_dataset_of_another_namespace_does_not_exist_for_a_job(
    platform: Platform, rival: Tenant, dataset: str
) -> None:
    rival.kubectl.apply(job(platform, rival, "refers-to-theirs", source={"datasetRef": {"name": dataset}}))
    found = wait_until(
        lambda: condition(rival.kubectl.get("dsjob", "refers-to-theirs") or {}, "DatasetsReady"),
        holds=lambda seen: seen["status"] == "False",
        what="a condition about the dataset",
        deadline_seconds=60,
    )
    assert dataset in found["message"]
    assert rival.kubectl.items("pods", selector="deepseek.dev/name=refers-to-theirs") == []


@pytest.mark.parametrize(
    "change",
    [
        {"storage": {"secretRef": {"name": f"{NAMESPACE}/s3-credentials"}}},
        {"storage": {"secretRef": {"name": "s3-credentials", "namespace": NAMESPACE}}},
        {"workers": {"serviceAccountName": "deepseek-operator"}},
        {"data": {"sources": [{"name": "a", "datasetRef": {"name": "docs", "namespace": NAMESPACE}}]}},
    ],
)
def test_no_field_names_a_secret_or_an_account_of_another_namespace(
    platform: Platform, rival: Tenant, change: dict[str, Any]
) -> None:
    source = {"datasetRef": {"name": "docs"}}
    with pytest.raises(KubectlError):
        rival.kubectl.apply(job(platform, rival, "reaches-over", source=source, change=change))
    assert rival.kubectl.get("dsjob", "reaches-over") is None


def job(
    platform: Platform,
    tenant: Tenant,
    name: str,
    *,
    source: Mapping[str, Any],
    change: Mapping[str, Any] | None = None,
) -> Object:
    return training_job(
        name,
        dataset_name="replaced",
        uri=f"{tenant.prefix}/jobs/{name}",
        endpoint_url=platform.store.endpoint_url,
        change=merged({"data": {"sources": [{"name": "theirs", **source}]}}, change or {}),
    )
