"""/healthz, /readyz and /metrics."""

from aiohttp.test_utils import TestClient, TestServer

from deepseek_operator.health import Check, build_application
from deepseek_operator.metrics import Metrics


async def _get(path: str, live: dict[str, Check], metrics: Metrics | None = None) -> tuple[int, str]:
    application = build_application(live=live, registry=(metrics or Metrics()).registry)
    async with TestClient(TestServer(application)) as client:
        response = await client.get(path)
        return response.status, await response.text()


async def test_healthy_while_no_check_has_a_reason() -> None:
    assert await _get("/healthz", {"watches": lambda: ""}) == (200, "ok\n")


async def test_a_failing_check_says_why() -> None:
    assert await _get("/healthz", {"watches": lambda: "silent"}) == (503, "watches: silent\n")


async def test_a_standby_is_ready() -> None:
    assert (await _get("/readyz", {"watches": lambda: "silent"}))[0] == 200


async def test_metrics_count_requests_to_the_api_server() -> None:
    metrics = Metrics()
    metrics.observe_request("create", "pods", 409, 0.01)
    status, text = await _get("/metrics", {}, metrics)
    assert status == 200
    assert 'deepseek_operator_api_requests_total{code="409",resource="pods",verb="create"} 1.0' in text
