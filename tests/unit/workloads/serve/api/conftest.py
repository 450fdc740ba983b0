"""The API over a running engine, called in this process."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI

from deepseek_workloads.serve.api.app import Service
from deepseek_workloads.serve.engine.engine import Engine
from deepseek_workloads.serve.metrics import ServingMetrics
from deepseek_workloads.serve.served_model import ServedModel


@pytest.fixture
def service(chat: ServedModel, start_engine: Callable[..., Engine]) -> Service:
    metrics = ServingMetrics()
    return Service(chat, start_engine(watched_by=metrics, max_num_seqs=2, max_queued_requests=1), metrics)


Connect = Callable[[FastAPI], httpx.AsyncClient]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[httpx.AsyncClient] = []

    def make(app: FastAPI) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://chat"))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
