"""A finished model answers; a new revision replaces it under load; one that is no good gets no request."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from harness.kubectl import condition, conditions_in_words
from harness.platform import Object, Platform
from harness.resources import model_revision, model_service
from harness.waiting import wait_until

HARNESS = Path(__file__).parent
NAME = "chat"
DEADLINE = 180.0
# Long enough for every client of the load to be in the middle of something.
REQUESTS_BEFORE_THE_SWITCH = 10


def wait_for_active(platform: Platform, revision: str) -> Object:
    """Until it serves alone: nothing is left of the revision before."""

    def settled(service: Object) -> bool:
        status = service.get("status", {})
        active = (status.get("active") or {}).get("revision")
        return active == revision and status.get("state") == "Serving" and not status.get("retired")

    def given_up(service: Object) -> str:
        seen = service.get("status", {}).get("observedGeneration") == service["metadata"]["generation"]
        failed = condition(service, "RevisionFailed")["status"] == "True"
        return conditions_in_words(service) if seen and failed else ""

    return wait_until(
        lambda: platform.get("dsserve", NAME),
        holds=settled,
        what=f"{revision} to serve",
        deadline_seconds=DEADLINE,
        give_up=given_up,
        describe=conditions_in_words,
    )


def base_url(platform: Platform) -> str:
    """As this machine reaches the Service: by its address, through kube-proxy."""
    return f"http://{platform.get('service', NAME)['spec']['clusterIP']}:8000"


def replica_pods(platform: Platform) -> list[Object]:
    return platform.pods(NAME, role="worker")


@pytest.fixture(scope="module")
def revision(platform: Platform, undisturbed: str) -> Object:
    """Of the finished job."""
    return platform.get("dsrev", platform.get("dsjob", undisturbed)["status"]["export"]["revision"])


@pytest.fixture(scope="module")
def served(platform: Platform, revision: Object) -> Iterator[Object]:
    """The service, with that revision active."""
    name = revision["metadata"]["name"]
    platform.kubectl.apply(model_service(NAME, revision=name))
    yield wait_for_active(platform, name)
    platform.kubectl.delete("dsserve", NAME, "--wait=true")


@contextmanager
def constant_load(url: str, *, report: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Another process sends requests meanwhile; afterwards `report` says what became of them."""
    command = [sys.executable, "-m", "harness.serving_load", url, NAME]
    with subprocess.Popen(
        command, cwd=HARNESS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as load:
        try:
            yield load
            output, _ = load.communicate(timeout=120)
            report |= json.loads(output)
        finally:
            load.kill()


async def post(url: str, path: str, body: Object) -> Object:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}{path}", json=body, raise_for_status=True) as response,
    ):
        return dict(await response.json())


async def test_the_model_of_a_job_answers_in_openais_terms(
    platform: Platform, served: Object, revision: Object
) -> None:
    body = {"model": NAME, "prompt": "The", "max_tokens": 8, "temperature": 0}
    answer = await post(base_url(platform), "/v1/completions", body)
    assert 0 < answer["usage"]["completion_tokens"] <= 8
    assert answer["model"] == NAME
    digest = revision["spec"]["digest"].removeprefix("sha256:")
    assert digest.startswith(answer["system_fingerprint"].removeprefix("fp_"))


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
    serving = [pod["metadata"]["name"] for pod in replica_pods(platform)]
    bad = model_revision("altered", of=revision, change={"digest": "sha256:" + "0" * 64})
    platform.kubectl.apply(bad, model_service(NAME, revision="altered"))
    service = platform.wait_for_condition(
        NAME, "RevisionFailed", kind="dsserve", reason="ExportInvalid", deadline_seconds=DEADLINE
    )
    assert service["status"]["active"]["revision"] == revision["metadata"]["name"]
    assert [pod["metadata"]["name"] for pod in replica_pods(platform)] == serving
    assert "ExportInvalid" in [event["reason"] for event in platform.kubectl.events(NAME)]


def test_a_switch_under_constant_load_loses_no_request_and_no_stream(
    platform: Platform, served: Object, revision: Object
) -> None:
    url, report = base_url(platform), dict[str, Any]()
    platform.kubectl.apply(model_revision("second", of=revision))
    with constant_load(url, report=report):
        platform.kubectl.apply(model_service(NAME, revision="second"))
        status = wait_for_active(platform, "second")["status"]
    assert [switch["revision"] for switch in status["history"]] == ["second", revision["metadata"]["name"]]
    assert {name: tally["failures"] for name, tally in report.items()} == {name: [] for name in report}
    for name, tally in report.items():
        assert tally["requests"] >= REQUESTS_BEFORE_THE_SWITCH, name
        assert sum(tally["fingerprints"].values()) == tally["requests"], name
