"""A draining pod asks its clients, answer by answer, to come back by a new connection."""

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from deepseek_workloads.launch.serve_proxy import CloseWhenDraining


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("ok", headers={"Connection": "keep-alive"})(scope, receive, send)


@pytest.mark.parametrize(("draining", "connection"), [(False, "keep-alive"), (True, "close")])
async def test_answers_say_close_only_while_draining(draining: bool, connection: str) -> None:
    app = CloseWhenDraining(answer, draining=lambda: draining)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pod") as client:
        response = await client.get("/")

    assert response.headers.get_list("connection") == [connection]
    assert response.text == "ok"
