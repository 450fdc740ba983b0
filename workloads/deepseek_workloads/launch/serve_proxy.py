"""Around Ray Serve's own proxy in every pod: connections are given up one by one while the pod drains.

Ray imports it by the name in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH (see `supervise.ray_command`).
"""

from collections.abc import Callable
from pathlib import Path

from starlette.middleware import Middleware
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


def middlewares() -> list[Middleware]:
    return [Middleware(CloseWhenDraining, draining=Path(environment.DRAIN_FILE).exists)]
