"""The coordinator's HTTP interface: progress out, control and reports in. It holds no state of its own."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

import pydantic
from aiohttp import web
from aiohttp.typedefs import Handler

from deepseek_workloads.contract.messages import Control, Progress, Report
from deepseek_workloads.supervise import metrics_text

MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True)
class Api:
    """What the handlers call; all of it runs in the event loop and returns at once."""

    token: str
    progress: Callable[[], Progress]
    report: Callable[[Report], Control]
    control: Callable[[Control], Control]
    ready: Callable[[], bool]


def application(api: Api) -> web.Application:
    async def progress(_request: web.Request) -> web.Response:
        return _json(api.progress().to_json())

    async def metrics(_request: web.Request) -> web.Response:
        text = metrics_text.metrics_text(api.progress())
        return web.Response(body=text.encode(), headers={"Content-Type": metrics_text.CONTENT_TYPE})

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if api.ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="preflight has not passed\n")

    async def control(request: web.Request) -> web.Response:
        _authorize(request, api.token)
        return _json(api.control(Control.model_validate_json(await request.read())).to_json())

    async def report(request: web.Request) -> web.Response:
        _authorize(request, api.token)
        return _json(api.report(Report.model_validate_json(await request.read())).to_json())

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_refuse_malformed])
    app.add_routes(
        [
            web.get("/progress", progress),
            web.get("/metrics", metrics),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.post("/control", control),
            web.post("/report", report),
        ]
    )
    return app


@web.middleware
async def _refuse_malformed(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except pydantic.ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return web.Response(status=400, text=f"{problems}\n")


def _authorize(request: web.Request, token: str) -> None:
    """Raises HTTPUnauthorized. Compared in constant time."""
    # As aiohttp has decoded it: a header may hold any bytes.
    given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise web.HTTPUnauthorized(
            text="Authorization: must be `Bearer` and this run's token, which only its pods have\n",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _json(document: bytes) -> web.Response:
    return web.Response(body=document, content_type="application/json")
