"""A finished model answers; a new revision replaces it under load; one that is no good gets no request."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from harness.kubectl import Kubectl
from harness.platform import Object, Platform
from harness.probe import COORDINATOR_PORTS, listening_ports, reached, reaches
from harness.resources import model_revision, model_service
from harness.secrecy import leaks, readable_places, secret_values
from harness.serving import (
    DEADLINE,
    PORT,
    base_url,
    constant_load,
    lost,
    post,
    replica_pods,
    wait_for_active,
)

NAME = "chat"
KEYS = "chat-api-keys"
# Long enough for every client of the load to be in the middle of something.
REQUESTS_BEFORE_THE_SWITCH = 10


def service_of(revision: str) -> Object:
    return model_service(NAME, revision=revision, change={"apiKeysSecretRef": {"name": KEYS}})


@pytest.fixture(scope="module")
def revision(platform: Platform, undisturbed: str) -> Object:
    """Of the finished job."""
    return platform.get("dsrev", platform.get("dsjob", undisturbed)["status"]["export"]["revision"])


@pytest.fixture(scope="module")
def successor(platform: Platform, dataset: str, revision: Object) -> Object:
    """Of a job that went on from that one's model: other weights, as good."""
    start = {"initFrom": {"revisionRef": {"name": revision["metadata"]["name"]}}}
    training = {"steps": 2, "optimizer": {"learningRate": "1e-6"}, "schedule": {"warmupSteps": 0}}
    job = platform.wait_until_finished(
        platform.apply_job("successor", dataset, {"model": start, "training": training})
    )
    return platform.get("dsrev", job["status"]["export"]["revision"])


@pytest.fixture(scope="module")
def api_key(platform: Platform) -> str:
    """One of two that the service takes."""
    keys = {"team-a": secrets.token_hex(24), "team-b": secrets.token_hex(24)}
    platform.create_secret(KEYS, keys)
    return keys["team-b"]


@pytest.fixture(scope="module")
def served(platform: Platform, revision: Object, successor: Object, api_key: str) -> Iterator[Object]:
    """The service, with that revision active. Its successor is trained before, while there is room."""
    name = revision["metadata"]["name"]
    platform.kubectl.apply(service_of(name))
    yield wait_for_active(platform, NAME, revision=name)
    platform.kubectl.delete("dsserve", NAME, "--wait=true")


async def test_the_model_of_a_job_answers_in_openais_terms(
    platform: Platform, served: Object, revision: Object, api_key: str
) -> None:
    body = {"model": NAME, "prompt": "The", "max_tokens": 8, "temperature": 0}
    status, answer = await post(f"{base_url(platform, NAME)}/v1/completions", body, api_key=api_key)
    assert status == 200, answer
    assert 0 < answer["usage"]["completion_tokens"] <= 8
    assert answer["model"] == NAME
    assert is_of(answer["system_fingerprint"], revision)


@pytest.mark.parametrize("key", ["", "wrong"])
async def test_a_request_without_a_key_of_the_secret_is_refused(
    platform: Platform, served: Object, key: str
) -> None:
    body = {"model": NAME, "prompt": "The", "max_tokens": 1}
    status, answer = await post(f"{base_url(platform, NAME)}/v1/completions", body, api_key=key)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


def test_others_reach_the_service_through_its_port_and_nothing_behind_it(
    platform: Platform, served: Object, outsiders: list[tuple[Kubectl, str]]
) -> None:
    (coordinator,) = platform.pods(NAME, role="coordinator")
    (replica,) = replica_pods(platform, NAME)
    inside = [f"{coordinator['status']['podIP']}:{port}" for port in COORDINATOR_PORTS]
    ports = listening_ports(platform.kubectl, replica["metadata"]["name"])
    inside += [f"{replica['status']['podIP']}:{port}" for port in ports if port != PORT]
    assert len(inside) > len(COORDINATOR_PORTS), "a replica listens for its head: that is to be protected"
    address = base_url(platform, NAME).removeprefix("http://")
    for kubectl, pod in outsiders:
        assert reaches(kubectl, pod, address), pod
        assert reached(kubectl, pod, inside) == [], pod


def test_no_key_can_be_read_outside_its_secret(platform: Platform, served: Object) -> None:
    keys = {name: value for name, value in secret_values(platform).items() if f"/{KEYS}/" in name}
    assert len(keys) == 2
    assert leaks(keys, readable_places(platform)) == []


def test_kubectl_shows_what_serves(platform: Platform, served: Object, revision: Object) -> None:
    header, row = platform.kubectl.run("get", "dsserve", NAME).splitlines()
    assert header.split() == ["NAME", "ACTIVE", "CANDIDATE", "READY", "URL", "AGE"]
    assert row.split()[:3] == [NAME, revision["metadata"]["name"], "1/1"]


def test_the_answers_fingerprint_leads_back_to_the_dataset(
    platform: Platform, served: Object, revision: Object, dataset: str
) -> None:
    """By kubectl alone: service, revision, job, dataset."""
    assert served["status"]["active"]["digest"] == revision["spec"]["digest"]
    provenance = revision["spec"]["provenance"]
    job = platform.get("dsjob", provenance["jobRef"]["name"])
    assert job["status"]["export"]["digest"] == revision["spec"]["digest"]
    assert provenance["datasetDigests"] == [platform.get("dsdata", dataset)["status"]["digest"]]


def test_a_revision_whose_export_was_altered_gets_no_request(
    platform: Platform, served: Object, revision: Object
) -> None:
    serving = [pod["metadata"]["name"] for pod in replica_pods(platform, NAME)]
    bad = model_revision("altered", of=revision, change={"digest": "sha256:" + "0" * 64})
    platform.kubectl.apply(bad, service_of("altered"))
    service = platform.wait_for_condition(
        NAME, "RevisionFailed", kind="dsserve", reason="ExportInvalid", deadline_seconds=DEADLINE
    )
    assert service["status"]["active"]["revision"] == revision["metadata"]["name"]
    assert [pod["metadata"]["name"] for pod in replica_pods(platform, NAME)] == serving
    assert "ExportInvalid" in [event["reason"] for event in platform.kubectl.events(NAME)]


async def test_a_switch_under_constant_load_loses_no_request_and_no_stream(
    platform: Platform, served: Object, revision: Object, successor: Object, api_key: str
) -> None:
    report, old, new = dict[str, Any](), revision["metadata"]["name"], successor["metadata"]["name"]
    with constant_load(platform, NAME, report=report, api_key=api_key):
        platform.kubectl.apply(service_of(new))
        status = wait_for_active(platform, NAME, revision=new)["status"]
    assert [switch["revision"] for switch in status["history"]] == [new, old]
    assert lost(report) == {}
    for name, tally in report.items():
        assert tally["requests"] >= REQUESTS_BEFORE_THE_SWITCH, name
        assert sum(tally["fingerprints"].values()) == tally["requests"], name
        known = [fingerprint for fingerprint in tally["fingerprints"] if is_of(fingerprint, revision)]
        assert known, "the old model answered until the switch"
        others = tally["fingerprints"].keys() - set(known)
        assert all(is_of(fingerprint, successor) for fingerprint in others), name
    body = {"model": NAME, "prompt": "The", "max_tokens": 1}
    _, answer = await post(f"{base_url(platform, NAME)}/v1/completions", body, api_key=api_key)
    assert is_of(answer["system_fingerprint"], successor)


def is_of(fingerprint: str, revision: Object) -> bool:
    """Whether an answer is of the model of that revision."""
    digest: str = revision["spec"]["digest"].removeprefix("sha256:")
    return digest.startswith(fingerprint.removeprefix("fp_"))
