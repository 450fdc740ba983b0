"""The operator's HTTP server: /healthz, /readyz and /metrics. It knows checks only by name."""

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str]
"""Why the process is not healthy; empty when it is."""


def build_application(*, live: Mapping[str, Check], registry: CollectorRegistry) -> web.Application:
    """`live`: by name; any that answers with a reason makes /healthz fail, and the pod is restarted."""

    async def healthz(_: web.Request) -> web.Response:
        reasons = {name: check() for name, check in live.items()}
        failing = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
        return web.Response(status=503 if failing else 200, text="\n".join(failing or ["ok"]) + "\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")  # a standby is ready too

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return application


async def serve(application: web.Application, *, host: str, port: int) -> web.AppRunner:
    """Returns the running server; `await runner.cleanup()` ends it. Raises OSError when the port is taken."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
