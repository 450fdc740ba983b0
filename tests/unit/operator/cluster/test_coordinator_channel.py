"""The HTTP channel to a coordinator, against a real HTTP server on this machine."""

import logging
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deepseek_operator.cluster.coordinator_channel import CoordinatorChannel
from deepseek_operator.cluster.interface import PushAnswer
from deepseek_workloads.contract.messages import MAX_PROGRESS_BYTES, Control, Progress

Handler = Callable[[web.Request], web.Response]


@pytest.fixture
async def coordinator() -> AsyncIterator[Callable[[Handler], TestServer]]:
    servers: list[TestServer] = []

    async def start(answer: Handler) -> TestServer:
        async def handle(request: web.Request) -> web.Response:
            await request.read()
            return answer(request)

        application = web.Application()
        application.router.add_route("*", "/{path}", handle)
        server = TestServer(application, host="127.0.0.1")
        await server.start_server()
        servers.append(server)
        return server

    yield start  # type: ignore[misc]
    for server in servers:
        await server.close()


async def _progress(start: Callable[..., object], answer: Handler) -> Progress | None:
    server = await start(answer)  # type: ignore[misc]
    async with CoordinatorChannel(port=server.port) as channel:
        return await channel.progress("127.0.0.1")


async def test_progress_is_read(coordinator: Callable[..., object]) -> None:
    sent = Progress(phase="Training", step=7, total_steps=20)
    assert await _progress(coordinator, lambda _: web.Response(body=sent.to_json())) == sent


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("an error", lambda _: web.Response(status=500)),
        ("no JSON", lambda _: web.Response(text="<html>")),
        ("a wrong type", lambda _: web.json_response({"step": "many"})),
        ("too long", lambda _: web.Response(body=b" " * (MAX_PROGRESS_BYTES + 1) + b"{}")),
        ("a redirect", lambda _: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})),
    ],
)
async def test_an_answer_that_is_no_progress_is_none(
    coordinator: Callable[..., object], name: str, answer: Handler
) -> None:
    assert await _progress(coordinator, answer) is None


async def test_a_coordinator_that_is_not_there_is_none() -> None:
    async with CoordinatorChannel(port=1) as channel:
        assert await channel.progress("127.0.0.1") is None
        answer = await channel.push("127.0.0.1", control=Control(generation=1), token="t")
    assert answer is PushAnswer.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "TAKEN"), (401, "REFUSED"), (403, "REFUSED"), (400, "UNREACHABLE"), (502, "UNREACHABLE")],
)
async def test_a_token_that_is_refused_is_told_from_a_coordinator_that_is_not_reached(
    coordinator: Callable[..., object], status: int, expected: str
) -> None:
    server = await coordinator(lambda _: web.Response(status=status))  # type: ignore[misc]
    async with CoordinatorChannel(port=server.port) as channel:
        answer = await channel.push("127.0.0.1", control=Control(generation=2), token="t")
    assert answer is PushAnswer[expected]


async def test_what_a_tenant_answers_is_counted_and_does_not_fill_the_log(
    coordinator: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="deepseek_operator")
    counted: list[None] = []
    flood = {f"line\n{number}": "x\n" * 50 for number in range(20)}
    answer = {"step": "many\n" * 99, "phase": "x" * 999, **flood}
    server = await coordinator(lambda _: web.json_response(answer))  # type: ignore[misc]
    async with CoordinatorChannel(port=server.port, on_invalid=lambda: counted.append(None)) as channel:
        assert await channel.progress("127.0.0.1") is None
    (record,) = [each for each in caplog.records if each.name.startswith("deepseek_operator")]
    assert record.levelno == logging.DEBUG
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 400
    assert len(counted) == 1


async def test_control_is_pushed_with_the_token_of_the_run(coordinator: Callable[..., object]) -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("Authorization", "")))
        return web.Response(status=200)

    server = await coordinator(answer)  # type: ignore[misc]
    async with CoordinatorChannel(port=server.port) as channel:
        answered = await channel.push("127.0.0.1", control=Control(desired_state="Stopped"), token="secret")
    assert answered is PushAnswer.TAKEN
    assert seen == [("/control", "Bearer secret")]
