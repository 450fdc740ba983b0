"""A served export: real Ray Serve on pods without Kubernetes, real storage, the official client.

One set of pods for all tests of this file; the last one replaces it.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

import httpx
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.environment import SERVE_PORT
from deepseek_workloads.contract.messages import Progress
from deepseek_workloads.contract.run_config import (
    CheckBaseline,
    Engine,
    RunPolicy,
    ServingCheck,
    ServingRun,
    Storage,
)
from deepseek_workloads.data.prepare.model_service import ModelService, RequestRefused
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store

Pods = Any  # conftest's PodSet
MakeRun = Callable[..., ServingRun]
UP_SECONDS = 240
GREEDY: dict[str, Any] = {"model": "chat", "temperature": 0, "max_tokens": 12}
POST = "POST /v1/completions HTTP/1.1\r\nHost: chat\r\nContent-Type: application/json\r\n"
LONG: dict[str, Any] = {"model": "chat", "prompt": "The", "max_tokens": 400, "temperature": 1.0, "seed": 3}


@dataclass
class Served:
    pods: Pods
    run: ServingRun
    coordinator: Any
    workers: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.workers[0].ip}:{SERVE_PORT}"

    def wait_for(self, what: str, condition: Callable[[Progress], bool]) -> Progress:
        progress: Progress = self.pods.wait_for_progress(what, condition, seconds=UP_SECONDS)
        return progress

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics").text
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))


def bring_up(pods: Pods, run: ServingRun) -> Served:
    coordinator, workers = pods.start_all()
    served = Served(pods, run, coordinator, workers)
    ready = len(workers)
    served.wait_for(
        f"{ready} replicas", lambda now: bool(now.serving and now.serving.ready_replicas == ready)
    )
    eventually("the proxy's way to its replica", lambda: httpx.get(f"{served.url}/readyz").status_code == 200)
    return served


def eventually(what: str, condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def served(new_pod_set: Callable[[ServingRun, int], Pods], make_serving_run: MakeRun) -> Iterator[Served]:
    run = make_serving_run("served", engine=Engine(max_num_seqs=8, max_queued_requests=8, batch_wait_ms=5))
    pods = new_pod_set(run, 1)
    try:
        yield bring_up(pods, run)
    finally:
        pods.close()


@pytest.fixture
def connect() -> Callable[[Storage], ObjectStore]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return lambda storage: open_store(storage, environ=keys)


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_the_revision_was_checked_before_it_was_served(served: Served) -> None:
    serving = served.wait_for("figures", lambda now: bool(now.serving and now.serving.bits_per_byte)).serving

    assert serving is not None
    assert (serving.checked, serving.replicas) == (True, 1)


def test_the_official_client_completes_and_chats(client: openai.OpenAI, served: Served) -> None:
    completion = client.completions.create(prompt="The model", **GREEDY)
    chat = client.chat.completions.create(messages=[{"role": "user", "content": "The model"}], **GREEDY)

    digest = served.run.revision.digest.removeprefix("sha256:")
    assert completion.system_fingerprint == chat.system_fingerprint == f"fp_{digest[:16]}"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 12
    assert chat.choices[0].message.role == "assistant"
    assert [model.id for model in client.models.list()] == ["chat"]


def test_what_a_stage_of_a_dataset_is_answered_is_what_the_official_client_is(
    client: openai.OpenAI, served: Served
) -> None:
    service = ModelService(f"{served.url}/v1", key=None, timeout_seconds=60)
    answer = service.chat("The model", model="chat", max_tokens=12, seed=0)
    chat = client.chat.completions.create(messages=[{"role": "user", "content": "The model"}], **GREEDY)

    assert service.models() == ["chat"]
    assert (answer.text, answer.finish_reason) == (
        chat.choices[0].message.content,
        chat.choices[0].finish_reason,
    )
    with pytest.raises(RequestRefused, match="HTTP 400"):
        service.chat("The model" * 5000, model="chat", max_tokens=12, seed=0)
    service.close()


def test_streams_are_the_same_answers_in_parts(client: openai.OpenAI) -> None:
    whole = client.completions.create(prompt="The model", **GREEDY)
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}

    parts = list(client.completions.create(prompt="The model", **GREEDY, **options))
    chat = client.chat.completions.create(
        messages=[{"role": "user", "content": "The"}], **GREEDY, stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in chat]

    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    assert parts[-1].usage == whole.usage
    assert deltas[0].role == "assistant"


def test_many_at_once_get_what_each_gets_alone(client: openai.OpenAI) -> None:
    prompts = ["The model", "A token", "模型读", "which", "The", "it", "reads a", "词元"]

    def answer(prompt: str) -> str:
        return (
            client.completions.create(model="chat", prompt=prompt, max_tokens=20, temperature=0.8, seed=5)
            .choices[0]
            .text
        )

    alone = [answer(prompt) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as pool:
        together = list(pool.map(answer, prompts))

    assert together == alone


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_gives_up_its_place(served: Served, stream: bool) -> None:
    before = served.metric("deepseek_serve_generation_tokens_total")
    body = json.dumps({**LONG, "stream": stream}).encode()
    request = f"{POST}Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((served.workers[0].ip, SERVE_PORT)) as connection:
        connection.sendall(request.encode() + body)
        eventually("it runs", lambda: served.metric("deepseek_serve_running_requests") == 1)

    eventually("its place is free", lambda: served.metric("deepseek_serve_running_requests") == 0)
    assert served.metric("deepseek_serve_generation_tokens_total") == before  # it did not go on to its end


def test_errors_reach_the_official_client_as_its_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt", prompt="x")
    with pytest.raises(openai.BadRequestError, match="512 tokens"):
        client.completions.create(model="chat", prompt="x", max_tokens=5000)


def test_more_than_may_wait_is_told_when_to_come_back(served: Served) -> None:
    """Eight places, eight waiting."""
    with ThreadPoolExecutor(30) as pool:
        answers = list(
            pool.map(lambda _: httpx.post(f"{served.url}/v1/completions", json=LONG, timeout=120), range(30))
        )

    assert {answer.status_code for answer in answers} == {200, 429}
    assert {a.headers["retry-after"] for a in answers if a.status_code == 429} == {"1"}


def test_a_client_that_reads_and_writes_a_byte_at_a_time_holds_nobody(
    served: Served, client: openai.OpenAI
) -> None:
    body = json.dumps({**LONG, "stream": True}).encode()
    head = f"{POST}Content-Length: {len(body)}\r\n\r\n".encode()
    with (
        socket.create_connection((served.workers[0].ip, SERVE_PORT)) as writer,
        socket.create_connection((served.workers[0].ip, SERVE_PORT)) as reader,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        reader.sendall(head + body)
        for byte in head + body[:20]:
            writer.sendall(bytes([byte]))
        assert reader.recv(1) == b"H"

        assert client.completions.create(prompt="The", **GREEDY).choices
        eventually("nothing runs", lambda: served.metric("deepseek_serve_running_requests") == 0)


def test_a_thousand_connects_and_disconnects(served: Served, client: openai.OpenAI) -> None:
    for number in range(1000):
        with socket.create_connection((served.workers[0].ip, SERVE_PORT)) as connection:
            if number % 2:
                connection.sendall(POST.encode() + b"Content-Length: 50\r\n\r\n{")

    assert client.completions.create(prompt="The", **GREEDY).choices


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz"])
def test_ray_serves_own_routes_are_not_there(served: Served, path: str) -> None:
    """They would answer before a key was asked for."""
    answer = httpx.get(f"{served.url}{path}")

    assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_a_body_larger_than_the_limit(served: Served) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{served.url}/v1/completions", content=b"x" * (5 * 2**20), headers=headers)

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_whatever_is_sent_is_answered_as_the_openapi_document_says(served: Served) -> None:
    """That a request is valid by its types does not make it one: the document cannot know the model's name,
    its vocabulary and its length."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json").exclude(path="/metrics")

    for operation in schema.get_all_operations():

        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.ok().as_strategy())
        def conforms(case: Any) -> None:
            case.call_and_validate(timeout=60, excluded_checks=[positive_data_acceptance])

        conforms()


@pytest.mark.slow
def test_replicas_follow_the_worker_pods_and_those_that_run_are_left_alone(
    served: Served, client: openai.OpenAI
) -> None:
    replica = served.workers[0].find("ServeReplica")

    second = served.pods.worker(1)
    served.wait_for("two replicas", lambda now: bool(now.serving and now.serving.ready_replicas == 2))
    eventually(
        "its own proxy answers",
        lambda: httpx.get(f"http://{second.ip}:{SERVE_PORT}/readyz").status_code == 200,
    )
    second.terminate()
    second.wait(seconds=UP_SECONDS)
    served.wait_for("one replica", lambda now: bool(now.serving and now.serving.replicas == 1))

    assert served.workers[0].find("ServeReplica") == replica
    assert client.completions.create(prompt="The", **GREEDY).choices


# ---- a switch of revisions


@dataclass
class Load:
    """Clients that send all the time to wherever `address` says, and never try anything twice."""

    address: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def keep_alive(self) -> None:
        connection = HTTPConnection(self.address, SERVE_PORT, timeout=60)
        while not self.stop.is_set():
            try:
                body = json.dumps({**GREEDY, "prompt": "The"})
                connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self._count(answer.status, answer.read())
                if answer.will_close:
                    connection.close()
                    connection = HTTPConnection(self.address, SERVE_PORT, timeout=60)
            except (OSError, HTTPException) as error:
                self.failures.append(f"keep-alive: {error!r}")
                return
        connection.close()

    def stream(self) -> None:
        while not self.stop.is_set():
            try:
                url = f"http://{self.address}:{SERVE_PORT}/v1/completions"
                answer = httpx.post(url, json={**LONG, "stream": True}, timeout=60)
                whole = answer.text.endswith("data: [DONE]\n\n")
                self._count(answer.status_code if whole else 0, answer.content)
            except httpx.HTTPError as error:
                self.failures.append(f"stream: {error!r}")

    def _count(self, status: int, body: bytes) -> None:
        self.answered += status == 200
        if status != 200:
            self.failures.append(f"{status}: {body[-200:]!r}")


def failures_of_a_switch(old: Served, following: Served) -> list[str]:
    """Of requests that are sent all the time, first to one, then to the other; the old pods get their SIGTERM
    together."""
    load = Load(old.workers[0].ip)
    clients = [threading.Thread(target=send) for send in (load.keep_alive, load.stream) for _ in range(2)]
    for thread in clients:
        thread.start()
    try:
        eventually("answers of the old one", lambda: load.answered >= 8)
        load.address = following.workers[0].ip
        for pod in (*old.workers, old.coordinator):
            pod.terminate()
        for pod in (*old.workers, old.coordinator):
            pod.wait(seconds=90)
        answered = load.answered
        eventually("answers of the new one", lambda: load.answered >= answered + 8)
    finally:
        load.stop.set()
        for thread in clients:
            thread.join()
    return load.failures


@pytest.mark.slow
def test_replicas_answer_on_without_their_coordinator_until_the_next_one_is_there(
    served: Served, client: openai.OpenAI
) -> None:
    """As when its node is drained."""
    served.coordinator.terminate()
    served.coordinator.wait(seconds=20)  # of a grace period of 30: it waits for nobody who stays
    answers = [client.completions.create(prompt="The", **GREEDY) for _ in range(20)]
    before = served.workers[0].find("ServeReplica")

    served.coordinator = served.pods.coordinator(incarnation=1)

    eventually("its replica starts anew", lambda: served.workers[0].find("ServeReplica") != before)
    served.wait_for("a replica", lambda now: bool(now.serving and now.serving.ready_replicas == 1))
    eventually("its proxy's way", lambda: httpx.get(f"{served.url}/readyz").status_code == 200)
    again = client.completions.create(prompt="The", **GREEDY)
    assert {answer.choices[0].text for answer in answers} == {again.choices[0].text}


@pytest.mark.slow
def test_haproxy_lets_its_clients_go_without_losing_a_request(
    served: Served, new_pod_set: Callable[[ServingRun, int], Pods], make_serving_run: MakeRun
) -> None:
    run = make_serving_run(
        "served-haproxy",
        seed=14,
        engine=served.run.engine,
        proxy="haproxy",
        run_policy=RunPolicy(drain_seconds=20),
    )
    pods = new_pod_set(run, 51)
    try:
        old = bring_up(pods, run)
        assert old.workers[0].find("/haproxy ")
        failures = failures_of_a_switch(old, served)
    finally:
        pods.close()

    assert failures == []


def test_a_switch_to_the_next_revision_loses_no_request(
    served: Served, new_pod_set: Callable[[ServingRun, int], Pods], make_serving_run: MakeRun
) -> None:
    """Its check compares it with the active one."""
    active = served.wait_for("figures", lambda now: bool(now.serving and now.serving.bits_per_byte)).serving
    assert active is not None
    assert active.bits_per_byte is not None
    baseline = CheckBaseline(
        storage=served.run.storage, digest=served.run.revision.digest, bits_per_byte=active.bits_per_byte
    )
    run = make_serving_run(
        "served-next",
        seed=12,
        engine=served.run.engine,
        check=ServingCheck(baseline=baseline, max_bits_per_byte_increase=100.0),
        run_policy=RunPolicy(drain_seconds=20),
    )
    pods = new_pod_set(run, 101)
    try:
        following = bring_up(pods, run)
        compared = following.wait_for("figures", lambda now: bool(now.serving and now.serving.bits_per_byte))
        assert compared.serving is not None
        assert compared.serving.bits_per_byte_on_baseline is not None
        failures = failures_of_a_switch(served, following)
    finally:
        pods.close()

    assert failures == []


@pytest.mark.slow
def test_an_altered_file_is_found_by_the_replica_and_ends_the_run(
    new_pod_set: Callable[[ServingRun, int], Pods],
    make_serving_run: MakeRun,
    connect: Callable[[Storage], ObjectStore],
) -> None:
    """One byte; names and sizes, which preflight compares, are as recorded."""
    run = make_serving_run("altered", seed=13)
    with closing(connect(run.storage)) as store:
        content = bytearray(store.read("model.safetensors"))
        content[-1] ^= 1
        store.put("model.safetensors", bytes(content))
    pods = new_pod_set(run, 201)

    try:
        coordinator, _ = pods.start_all()
        verdict = pods.verdict(coordinator, seconds=UP_SECONDS)
    finally:
        pods.close()

    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.EXPORT_INVALID)
    assert "model.safetensors" in verdict.message
