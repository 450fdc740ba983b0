"""Around Ray Serve's own proxy in every pod: connections are given up one by one while the pod drains, and
Ray's own routes are closed.

Ray imports it by the name in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH (see `supervise.ray_command`).
"""

import os
from collections.abc import Callable
from pathlib import Path

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepseek_workloads.contract import environment


class CloseWhenDraining:
    """Each answer then says `Connection: close`: the client's next request goes, by a new connection, to
    where the Service now points. Streams that are running are not cut."""

    def __init__(self, app: ASGIApp, *, draining: Callable[[], bool]) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining():
                kept = [(name, value) for name, value in message["headers"] if name.lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, closing if scope["type"] == "http" else send)


class WithoutRaysRoutes:
    """Ray answers `/-/routes` and `/-/healthz` itself, before the application could ask for a key. Nobody
    needs them here: Ray's controller asks its proxies by calls of actors, and the kubelet asks `/readyz`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/-/"):
            error = {"message": "no such route; see /openapi.json", "type": "invalid_request_error"}
            document = {"error": error | {"param": None, "code": None}}
            await JSONResponse(document, status_code=404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    closing = Middleware(CloseWhenDraining, draining=Path(environment.DRAIN_FILE).exists)
    # HAProxy asks the proxy that it falls back on for `/-/healthz`.
    behind_haproxy = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
    return [closing] if behind_haproxy else [Middleware(WithoutRaysRoutes), closing]
