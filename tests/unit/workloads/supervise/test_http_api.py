"""The API over a real socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from deepseek_workloads.contract.messages import Control, Progress, Report
from deepseek_workloads.supervise.http_api import Api, application

TOKEN = {"Authorization": "Bearer t0ken"}


class Coordinator:
    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.desired = Control(generation=4)
        self.ready = False

    def report(self, report: Report) -> Control:
        self.reports.append(report)
        return self.desired

    def control(self, control: Control) -> Control:
        self.desired = control
        return control


@pytest_asyncio.fixture
async def served() -> AsyncIterator[tuple[Coordinator, TestClient]]:  # type: ignore[type-arg]
    coordinator = Coordinator()
    api = Api(
        token="t0ken",
        progress=lambda: Progress(phase="Training", step=41, loss=2.5, goodput={"step": 30.0}),
        report=coordinator.report,
        control=coordinator.control,
        ready=lambda: coordinator.ready,
    )
    async with TestClient(TestServer(application(api))) as client:
        yield coordinator, client


Served = tuple[Coordinator, TestClient]  # type: ignore[type-arg]


async def test_progress_is_open(served: Served) -> None:
    answer = await served[1].get("/progress")
    assert Progress.model_validate_json(await answer.read()).step == 41


async def test_a_report_is_answered_with_the_desired_state(served: Served) -> None:
    answer = await served[1].post("/report", data=Report(rank=1, step=7).to_json(), headers=TOKEN)
    assert Control.model_validate_json(await answer.read()) == Control(generation=4)
    assert served[0].reports[0].step == 7


async def test_control_and_report_need_the_token(served: Served) -> None:
    for path in ("/control", "/report"):
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "t0ken"}):
            answer = await served[1].post(path, data=b"{}", headers=headers)
            assert answer.status == 401
    assert served[0].reports == []


async def test_a_token_of_any_bytes_is_refused(served: Served) -> None:
    """No client library sends such a header."""
    server = served[1].server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = b"POST /control HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\nContent-Length: 2\r\n\r\n{}"
    writer.write(head)

    assert (await reader.readline()).split()[1] == b"401"

    writer.close()


async def test_a_malformed_message_is_refused_with_the_field(served: Served) -> None:
    answer = await served[1].post("/control", data=b'{"desiredState":"Asleep"}', headers=TOKEN)
    assert answer.status == 400
    assert "desiredState" in await answer.text()


async def test_readiness_follows_preflight_and_health_does_not(served: Served) -> None:
    assert (await served[1].get("/readyz")).status == 503
    assert (await served[1].get("/healthz")).status == 200
    served[0].ready = True
    assert (await served[1].get("/readyz")).status == 200


async def test_metrics_are_in_prometheus_text_format(served: Served) -> None:
    answer = await served[1].get("/metrics")
    lines = (await answer.text()).splitlines()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "deepseek_run_step 41" in lines
    assert "deepseek_run_loss 2.5" in lines
    assert 'deepseek_run_seconds_total{part="step"} 30.0' in lines
