"""Whatever a client sends, it gets an OpenAI error object that says what to change; the service goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from deepseek_workloads.serve.api.app import Service, application
from deepseek_workloads.serve.api.gate import Limits
from deepseek_workloads.serve.api.keys import ApiKeys

Connect = Callable[[FastAPI], httpx.AsyncClient]
JSON = {"Content-Type": "application/json"}
COMPLETION = {"model": "chat", "prompt": "The kernel", "max_tokens": 4}


@pytest.fixture
def client(service: Service, connect: Connect) -> httpx.AsyncClient:
    limits = Limits(body_bytes=10_000, body_seconds=0.2, predicted_logits=3040)
    return connect(application(service, limits=limits))


def error_of(answer: httpx.Response) -> dict[str, Any]:
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


async def refused(
    client: httpx.AsyncClient, path: str = "/v1/completions", **changes: Any
) -> tuple[int, dict[str, Any]]:
    answer = await client.post(path, json={**COMPLETION, **changes})
    return answer.status_code, error_of(answer)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": "4"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.01}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["two", "prompts"]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [304]}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"n": 2}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True}, "echo"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"maximum": 1}, "maximum"),
    ],
)
async def test_a_wrong_value_is_named(client: httpx.AsyncClient, changes: dict[str, Any], param: str) -> None:
    status, error = await refused(client, **changes)

    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert param in error["message"]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"stop": ["a"] * 5}, "invalid_value", "at most 4 items"),
        ({"stop": 7}, "invalid_value", "a list of at most 4 texts"),
        ({"stop": ["a", 7]}, "invalid_value", "stop[1]: 7: Input should be a valid string"),
        ({"prompt": ["two", "prompts"]}, "unsupported", "2 prompts: one a request"),
        ({"prompt": [[1], [2]]}, "unsupported", "2 prompts: one a request"),
        ({"prompt": ["a", 7]}, "invalid_value", "prompt[1]: 7: Input should be a valid string"),
        ({"prompt": [1, "a"]}, "invalid_value", "prompt[1]: 'a': Input should be a valid integer"),
        ({"prompt": 7}, "invalid_value", "a text, a list of token ids"),
        ({"prompt": []}, "invalid_value", "at least 1 item"),
    ],
)
async def test_an_error_speaks_of_what_was_meant(
    client: httpx.AsyncClient, changes: dict[str, Any], code: str, words: str
) -> None:
    status, error = await refused(client, **changes)

    assert (status, error["code"]) == (400, code)
    assert words in error["message"]


@pytest.mark.parametrize("prompt", ["The kernel", ["The kernel"], [5, 6], [[5, 6]]])
async def test_every_form_of_one_prompt_is_taken(client: httpx.AsyncClient, prompt: object) -> None:
    answer = await client.post("/v1/completions", json={**COMPLETION, "prompt": prompt})

    assert answer.status_code == 200


async def test_an_image_is_refused_in_words(client: httpx.AsyncClient) -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    messages = [{"role": "user", "content": parts}]

    answer = await client.post("/v1/chat/completions", json={"model": "chat", "messages": messages})

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "unsupported")
    assert "messages[0].content[1]" in error["message"]
    assert "this server takes text only" in error["message"]


async def test_what_asks_for_nothing_is_taken(client: httpx.AsyncClient) -> None:
    """As clients send it that fill in every field."""
    chat = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}

    empty = await client.post(
        "/v1/chat/completions", json={**chat, "tools": [], "logit_bias": {}, "stop": []}
    )
    filled = await client.post("/v1/chat/completions", json={**chat, "tools": [{"type": "function"}]})

    assert empty.status_code == 200
    assert (filled.status_code, error_of(filled)["code"]) == (400, "unsupported")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "it is empty"),
        (b"null", "or null"),
        (b"[]", "it is a list"),
        (b"{", "at character 1"),
        (b'{"prompt": "\xff"}', "not UTF-8 (at byte 12)"),
        (b"[" * 9_000, "nested too deeply"),
        (b'{"max_tokens": 1' + b"0" * 5000 + b"}", "4300 digits"),
    ],
)
async def test_what_is_no_json_object_is_told_so(client: httpx.AsyncClient, body: bytes, words: str) -> None:
    answer = await client.post("/v1/completions", content=body, headers=JSON)

    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_json")
    assert words in error_of(answer)["message"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        None,
        "hi",
        [{}],
        [{"role": "user"}],
        [{"role": "robot", "content": "x"}],
        [{"role": "user", "content": 1}],
    ],
)
async def test_messages_that_are_none(client: httpx.AsyncClient, messages: object) -> None:
    answer = await client.post("/v1/chat/completions", json={"model": "chat", "messages": messages})

    assert (answer.status_code, error_of(answer)["param"]) == (400, "messages")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "chat", "prompt": "\xff"}',
        b'{"model": "chat", "prompt": "\\ud800"}',
        b'{"model": "chat", "prompt": "x", "temperature": NaN}',
        b'{"model": "chat", "prompt": "x", "max_tokens": 1' + b"0" * 5000 + b"}",
        b"[" * 9_000,
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
async def test_a_body_that_is_no_request(client: httpx.AsyncClient, body: bytes, content_type: str) -> None:
    answer = await client.post("/v1/completions", content=body, headers={"content-type": content_type})

    assert answer.status_code == 400, answer.text
    error_of(answer)


async def test_a_form_is_told_how_to_send_json(client: httpx.AsyncClient) -> None:
    """As `curl -d` sends it."""
    answer = await client.post("/v1/completions", data={"model": "chat", "prompt": "x"})

    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_content_type")


async def test_a_model_that_is_not_served(client: httpx.AsyncClient) -> None:
    status, error = await refused(client, model="gpt")

    assert (status, error["code"]) == (404, "model_not_found")
    assert "'chat'" in error["message"]
    assert (await client.get("/v1/models/gpt")).status_code == 404


@pytest.mark.parametrize("changes", [{"prompt": "kernel " * 200}, {"prompt": "The", "max_tokens": 128}])
async def test_what_is_too_long_is_told_the_limit(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    status, error = await refused(client, **changes)

    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert "128 tokens" in error["message"]


async def test_a_prediction_that_is_too_large(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"input_ids": [[1] * 6, [1] * 5]})

    assert answer.status_code == 400
    assert "the limit is 10" in error_of(answer)["message"]


@pytest.mark.parametrize("ids", [[], [[]], [[304]], [["a"]], [1], [[1] * 129]])
async def test_token_ids_that_are_none(client: httpx.AsyncClient, ids: object) -> None:
    answer = await client.post("/predict", json={"input_ids": ids})

    assert (answer.status_code, error_of(answer)["type"]) == (400, "invalid_request_error")


async def test_a_body_beyond_the_limit_is_not_read(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b"x" * 1000

    answer = await client.post("/v1/completions", content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert "10000 bytes" in error_of(answer)["message"]
    assert sent < 20


async def test_a_body_that_does_not_come_is_not_waited_for(client: httpx.AsyncClient) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await client.post("/v1/completions", content=stuck(), headers=JSON)

    assert answer.status_code == 408
    assert error_of(answer)["code"] == "request_timeout"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 404),
        ("POST", "/v2", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/v1/completions", 405),
        ("PUT", "/v1/completions", 405),
        ("POST", "/metrics", 405),
        ("POST", "/healthz", 405),
        ("POST", "/v1/models/chat", 405),
    ],
)
async def test_routes_that_do_not_exist_are_told_before_any_body_is_read(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with asyncio.timeout(30):
        answer = await client.request(method, path, content=stuck())

    assert answer.status_code == status
    assert "/openapi.json" in error_of(answer)["message"]


async def test_a_wrong_key_is_told_before_anything_is_read(
    service: Service, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "alice").write_text("right")
    client = connect(application(service, keys=ApiKeys(tmp_path)))

    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = await client.post("/v1/completions", content=b"{", headers=headers)
        assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_api_key")
    answer = await client.post("/v1/completions", json=COMPLETION, headers={"Authorization": "Bearer right"})
    assert answer.status_code == 200
    assert (await client.get("/readyz")).status_code == 200  # a kubelet has no key


async def test_what_others_ask_is_told_to_those_with_a_key_alone(
    service: Service, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "alice").write_text("right")
    client = connect(application(service, keys=ApiKeys(tmp_path)))

    assert (await client.get("/metrics")).status_code == 401
    answer = await client.get("/metrics", headers={"Authorization": "Bearer right"})
    assert answer.status_code == 200


async def test_what_the_engine_cannot_take_is_told_when_to_come_back(
    client: httpx.AsyncClient, service: Service
) -> None:
    """Two places, one waiting."""
    long = {"model": "chat", "prompt": "The", "max_tokens": 100, "temperature": 1.0}
    answers = await asyncio.gather(*(client.post("/v1/completions", json=long) for _ in range(12)))

    full = [answer for answer in answers if answer.status_code == 429]
    assert full
    assert all(answer.headers["retry-after"] == "1" for answer in full)
    assert {error_of(answer)["code"] for answer in full} == {"rate_limit_exceeded"}
    assert {answer.status_code for answer in answers} == {200, 429}


async def call_and_leave(app: FastAPI, body: bytes, *, after: int) -> None:
    """A client that goes away after so many messages of the answer."""
    received = [{"type": "http.request", "body": body, "more_body": False}]
    gone, seen = asyncio.Event(), 0

    async def receive() -> Message:
        if received:
            return received.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal seen
        seen += 1
        if seen >= after:
            gone.set()
            raise OSError("the connection is closed")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/completions",
        "raw_path": b"/v1/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
    }
    try:
        async with asyncio.timeout(30):
            await app(scope, receive, send)
    except TimeoutError:
        raise
    except Exception:
        return  # what a server does with a closed connection is its business


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_client_that_goes_away_gives_up_its_place(service: Service, after: int) -> None:
    app = application(service)
    body = b'{"model": "chat", "prompt": "The", "max_tokens": 120, "stream": true}'

    await call_and_leave(app, body, after=after)

    async with asyncio.timeout(30):
        while service.engine.running or service.engine.queued:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert b"generation_tokens_total 0.0" in service.metrics.exposition()  # it did not go on to the end
