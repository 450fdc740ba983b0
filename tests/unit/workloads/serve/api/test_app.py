"""OpenAI's API: answers, streams, limits. Bad input has a file of its own."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import torch
from fastapi import FastAPI

from deepseek_workloads.serve.api.app import Service, application

Connect = Callable[[FastAPI], httpx.AsyncClient]
GREEDY = {"model": "chat", "temperature": 0, "max_tokens": 12}
MESSAGES = [{"role": "user", "content": "The kernel"}]


@pytest.fixture
def client(service: Service, connect: Connect) -> httpx.AsyncClient:
    return connect(application(service))


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The documents of a stream that ended as it should."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


async def completion(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/v1/completions", json={**GREEDY, "prompt": "The kernel", **changes})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_completion_says_what_it_cost_and_which_export_made_it(client: httpx.AsyncClient) -> None:
    document = await completion(client)

    assert document["object"] == "text_completion"
    assert document["choices"][0]["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 12
    assert document["system_fingerprint"] == "fp_0123456789abcdef"


async def test_token_ids_and_a_list_of_one_text_are_prompts_too(
    client: httpx.AsyncClient, service: Service
) -> None:
    expected = (await completion(client))["choices"]
    ids = list(service.model.encode_prompt("The kernel"))

    assert (await completion(client, prompt=ids))["choices"] == expected
    assert (await completion(client, prompt=["The kernel"]))["choices"] == expected


async def test_a_stream_is_the_same_answer_in_parts(client: httpx.AsyncClient) -> None:
    whole = await completion(client)

    body = {**GREEDY, "prompt": "The kernel", "stream": True, "stream_options": {"include_usage": True}}
    parts = events(await client.post("/v1/completions", json=body))

    *chunks, last = parts
    assert "".join(part["choices"][0]["text"] for part in chunks) == whole["choices"][0]["text"]
    assert [part["choices"][0]["finish_reason"] for part in chunks][-1] == "length"
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert len({part["id"] for part in parts}) == 1


async def test_usage_is_streamed_only_when_asked_for(client: httpx.AsyncClient) -> None:
    parts = events(await client.post("/v1/completions", json={**GREEDY, "prompt": "A", "stream": True}))

    assert all(part["usage"] is None for part in parts)


async def test_a_chat_goes_on_from_its_template(client: httpx.AsyncClient) -> None:
    expected = await completion(client, prompt="user: The kernel\nassistant:")

    answer = await client.post("/v1/chat/completions", json={**GREEDY, "messages": MESSAGES})

    document = answer.json()
    assert document["choices"][0]["message"]["role"] == "assistant"
    assert document["choices"][0]["message"]["content"] == expected["choices"][0]["text"]
    assert document["usage"] == expected["usage"]


async def test_a_chats_stream_begins_with_the_role(client: httpx.AsyncClient) -> None:
    body = {**GREEDY, "messages": MESSAGES, "stream": True}

    first, *parts = events(await client.post("/v1/chat/completions", json=body))

    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(set(part["choices"][0]["delta"]) == {"content"} for part in parts)
    assert parts[-1]["choices"][0]["finish_reason"] == "length"


async def test_text_parts_are_one_message(client: httpx.AsyncClient) -> None:
    parts = [{"type": "text", "text": "The "}, {"type": "text", "text": "kernel"}]
    expected = await client.post("/v1/chat/completions", json={**GREEDY, "messages": MESSAGES})

    answer = await client.post(
        "/v1/chat/completions", json={**GREEDY, "messages": [{"role": "user", "content": parts}]}
    )

    assert answer.json()["choices"] == expected.json()["choices"]


async def test_a_seed_repeats_an_answer_and_another_gives_another(client: httpx.AsyncClient) -> None:
    sampled = {"temperature": 1.5, "max_tokens": 20}

    first, again, other = [await completion(client, **sampled, seed=seed) for seed in (7, 7, 8)]

    assert first["choices"] == again["choices"]
    assert first["choices"] != other["choices"]


async def test_a_stop_string_ends_an_answer(client: httpx.AsyncClient) -> None:
    text = (await completion(client))["choices"][0]["text"]

    document = await completion(client, stop=[text[2:5]])

    assert document["choices"][0] == {
        "index": 0,
        "text": text[: text.index(text[2:5])],
        "logprobs": None,
        "finish_reason": "stop",
    }


async def test_predict_gives_the_logits_of_every_token(client: httpx.AsyncClient, service: Service) -> None:
    answer = await client.post("/predict", json={"input_ids": [[5, 6, 7], [8]]})

    logits = answer.json()["logits"]
    with torch.inference_mode():
        expected = service.model.export.model(torch.tensor([[5, 6, 7]]))[0]
    torch.testing.assert_close(torch.tensor(logits[0]), expected)
    assert [len(row) for row in logits] == [3, 1]


async def test_the_model_is_listed_with_its_length(client: httpx.AsyncClient) -> None:
    (card,) = (await client.get("/v1/models")).json()["data"]

    assert (card["id"], card["owned_by"], card["max_model_len"]) == ("chat", "research", 128)
    assert (await client.get("/v1/models/chat")).json() == card


async def test_a_name_with_a_slash_is_found(service: Service, connect: Connect) -> None:
    """As the names of Hugging Face are."""
    named = replace(service, model=replace(service.model, name="deepseek-ai/tiny"))
    client = connect(application(named))

    for path in ("/v1/models/deepseek-ai/tiny", "/v1/models/deepseek-ai%2Ftiny"):
        assert (await client.get(path)).json()["id"] == "deepseek-ai/tiny"


async def test_embeddings_are_not_there_yet(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/embeddings", json={"model": "chat", "input": "text"})

    assert answer.status_code == 404
    assert "not yet" in answer.json()["error"]["message"]


async def test_metrics_count_tokens_and_answers(client: httpx.AsyncClient) -> None:
    await completion(client)
    await client.post("/v1/completions", json={})

    async with asyncio.timeout(30):
        # The engine counts a moment after it has answered.
        while "generation_tokens_total 12.0" not in (text := (await client.get("/metrics")).text):
            pass

    assert 'deepseek_serve_http_requests_total{code="200",route="/v1/completions"} 1.0' in text
    assert 'deepseek_serve_http_requests_total{code="400",route="/v1/completions"} 1.0' in text
    assert "deepseek_serve_time_to_first_token_seconds_count 1.0" in text


async def test_a_draining_replica_answers_but_is_not_ready(service: Service, connect: Connect) -> None:
    client = connect(application(replace(service, draining=lambda: True)))

    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200
    await completion(client)


async def test_a_dead_engine_is_neither_ready_nor_asked(client: httpx.AsyncClient, service: Service) -> None:
    assert (await client.get("/readyz")).status_code == 200

    service.engine.close()

    assert (await client.get("/readyz")).status_code == 503
    answer = await client.post("/v1/completions", json={**GREEDY, "prompt": "A"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
