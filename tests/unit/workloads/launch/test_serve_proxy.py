"""What is done around Ray Serve's proxy: clients of a draining pod are asked to come back by a new
connection, and nothing is told of Ray."""

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from deepseek_workloads.launch.serve_proxy import CloseWhenDraining, WithoutRaysRoutes


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("ok", headers={"Connection": "keep-alive"})(scope, receive, send)


@pytest.mark.parametrize(("draining", "connection"), [(False, "keep-alive"), (True, "close")])
async def test_answers_say_close_only_while_draining(draining: bool, connection: str) -> None:
    app = CloseWhenDraining(answer, draining=lambda: draining)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pod") as client:
        response = await client.get("/")

    assert response.headers.get_list("connection") == [connection]
    assert response.text == "ok"


@pytest.mark.parametrize(("path", "status"), [("/-/routes", 404), ("/-/healthz", 404), ("/v1/models", 200)])
async def test_rays_own_routes_are_closed(path: str, status: int) -> None:
    transport = httpx.ASGITransport(WithoutRaysRoutes(answer))
    async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
        response = await client.get(path)

    assert response.status_code == status
    assert status == 200 or set(response.json()["error"]) == {"message", "type", "param", "code"}
