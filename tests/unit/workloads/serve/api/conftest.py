"""The API over a running engine, called in this process."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI
from tokenizers import Tokenizer

from deepseek_workloads.contract.records import ExportManifest, Provenance
from deepseek_workloads.export.load import LoadedExport
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.api.app import Service
from deepseek_workloads.serve.engine.engine import Engine
from deepseek_workloads.serve.metrics import ServingMetrics
from deepseek_workloads.serve.served_model import ServedModel, served_model

DIGEST = "sha256:0123456789abcdef" + "7" * 48


@pytest.fixture(scope="session")
def chat(model: DeepseekV3ForCausalLM, tokenizer: Tokenizer) -> ServedModel:
    manifest = ExportManifest(
        files=[],
        provenance=Provenance(
            owner_namespace="research",
            owner_name="tiny",
            owner_uid="uid",
            epoch=1,
            step=1,
            consumed_samples=1,
            checkpoint_prefix="data/1/",
            run_config_digest="",
            dataset_digests=[],
        ),
        parameters=1,
    )
    export = LoadedExport(model, tokenizer, manifest, DIGEST, eos_token_id=1, tokenizer_config={})
    return served_model(export, name="chat", max_model_len=128)


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
