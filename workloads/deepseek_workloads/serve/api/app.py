"""The routes. Types and limits are checked before; what is left to do is to ask the engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response

from deepseek_workloads.data.chat_template import TemplateError
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.api import generation as answers
from deepseek_workloads.serve.api.errors import ApiError, ErrorResponse, install_handlers, not_ready
from deepseek_workloads.serve.api.gate import Gate, Limits
from deepseek_workloads.serve.api.keys import ApiKeys
from deepseek_workloads.serve.api.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    EmbeddingsRequest,
    Health,
    ModelCard,
    ModelList,
    Prediction,
    PredictRequest,
)
from deepseek_workloads.serve.engine.answer import EngineError
from deepseek_workloads.serve.engine.engine import NOT_FINITE, Engine
from deepseek_workloads.serve.metrics import ServingMetrics
from deepseek_workloads.serve.served_model import RequestRefused, ServedModel

_STREAM = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "The request cannot be answered"},
    "5XX": {"model": ErrorResponse, "description": "The server cannot answer now"},
}


@dataclass(frozen=True)
class Service:
    """What the routes stand on."""

    model: ServedModel
    engine: Engine
    metrics: ServingMetrics
    default_seed: int = 0
    draining: Callable[[], bool] = lambda: False

    def unready(self) -> str | None:
        """Why a load balancer should send requests elsewhere."""
        if not self.engine.alive:
            return "the engine has ended; this replica is being replaced"
        return "this replica is being drained" if self.draining() else None


def application(service: Service, *, limits: Limits | None = None, keys: ApiKeys | None = None) -> FastAPI:
    """`keys`: None lets everybody in."""
    limits = limits or Limits()
    app = FastAPI(
        title="deepseek serving",
        description="OpenAI-compatible answers of one model.",
        version="1",
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
    )
    routes = _Routes(service, limits)
    service.metrics.watch(running=lambda: service.engine.running, queued=lambda: service.engine.queued)
    stream: dict[int | str, dict[str, Any]] = {200: _STREAM}
    post, get = partial(app.add_api_route, methods=["POST"]), partial(app.add_api_route, methods=["GET"])
    get("/v1/models", routes.models, response_model=ModelList)
    get("/v1/models/{model:path}", routes.one_model, response_model=ModelCard)
    post("/v1/completions", routes.completions, response_model=Completion, responses=stream)
    post("/v1/chat/completions", routes.chat_completions, response_model=ChatCompletion, responses=stream)
    post("/v1/embeddings", routes.embeddings, response_model=None)
    post("/predict", routes.predict, response_model=Prediction)
    get("/healthz", routes.healthz, response_model=Health)
    get("/readyz", routes.readyz, response_model=Health)
    get("/metrics", routes.prometheus, response_class=Response, response_model=None)
    install_handlers(app)
    app.add_middleware(
        Gate,
        limits=limits,
        with_body=frozenset(_posts(app)),
        keys=keys,
        unready=_only_when_dead(service),
        count=service.metrics.count,
    )
    return app


def _posts(app: FastAPI) -> Iterator[str]:
    """Paths of the routes that take a body."""
    return (
        route.path for route in app.routes if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    )


def _only_when_dead(service: Service) -> Callable[[], str | None]:
    """A draining replica still answers what reaches it."""
    return lambda: None if service.engine.alive else service.unready()


class _Routes:
    def __init__(self, service: Service, limits: Limits) -> None:
        self._service, self._limits = service, limits

    # ---- OpenAI's

    async def models(self) -> ModelList:
        return ModelList(data=[self._card()])

    async def one_model(self, model: str) -> ModelCard:
        self._require_model(model)
        return self._card()

    async def completions(self, request: CompletionRequest) -> Response:
        self._require_model(request.model)
        with _refusals():
            generation = await answers.of_completion(
                request, self._service.model, default_seed=self._service.default_seed
            )
        heading = self._heading()
        answer = self._service.engine.submit(generation)
        if request.stream:
            usage = request.stream_options is not None and request.stream_options.include_usage
            return answers.EventStream(
                answer,
                first=None,
                chunk=partial(answers.completion_chunk, heading),
                last=(lambda n: answers.completion_usage(heading, answers.usage_of(generation, n)))
                if usage
                else None,
            )
        text, reason, tokens = await answers.whole(answer)
        return _json(answers.completion(heading, text, reason, answers.usage_of(generation, tokens)))

    async def chat_completions(self, request: ChatCompletionRequest) -> Response:
        self._require_model(request.model)
        with _refusals():
            generation = await answers.of_chat(
                request, self._service.model, default_seed=self._service.default_seed
            )
        heading = self._heading(prefix="chatcmpl")
        answer = self._service.engine.submit(generation)
        if request.stream:
            usage = request.stream_options is not None and request.stream_options.include_usage
            return answers.EventStream(
                answer,
                first=answers.chat_role(heading),
                chunk=partial(answers.chat_chunk, heading),
                last=(lambda n: answers.chat_usage(heading, answers.usage_of(generation, n)))
                if usage
                else None,
            )
        text, reason, tokens = await answers.whole(answer)
        return _json(answers.chat_completion(heading, text, reason, answers.usage_of(generation, tokens)))

    async def embeddings(self, request: EmbeddingsRequest) -> Response:  # noqa: ARG002 - of any shape
        raise ApiError(404, "/v1/embeddings: not yet; this server generates text", code="unsupported")

    # ---- ours

    async def predict(self, request: PredictRequest) -> Response:
        model, ids = self._service.model, request.input_ids
        with _refusals():
            for row, sequence in enumerate(ids):
                model.require_known(sequence, param=f"input_ids[{row}]")
        self._check_prediction_size(ids)
        logits = await self._service.engine.call(partial(_logits, ids))
        return _json(Prediction(logits=logits))

    def _check_prediction_size(self, ids: list[list[int]]) -> None:
        model, longest = self._service.model, max(map(len, ids))
        if longest > model.max_model_len:
            raise ApiError(
                400,
                f"input_ids: a sequence of {longest} tokens: the limit is {model.max_model_len}; cut it",
                param="input_ids",
                code="context_length_exceeded",
            )
        size = sum(map(len, ids)) * model.vocab_size
        if size > self._limits.predicted_logits:
            most = self._limits.predicted_logits // model.vocab_size
            raise ApiError(
                400,
                f"input_ids: {sum(map(len, ids))} tokens: the limit is {most} a request; send fewer",
                param="input_ids",
                code="too_many_tokens",
            )

    async def healthz(self) -> Health:
        return Health()

    async def readyz(self) -> Health:
        if (why := self._service.unready()) is not None:
            raise not_ready(why)
        return Health()

    async def prometheus(self) -> Response:
        return Response(self._service.metrics.exposition(), media_type="text/plain; version=0.0.4")

    # ---- shared

    def _require_model(self, name: str) -> None:
        if name != self._service.model.name:
            raise ApiError(
                404,
                f"model: {name[:80]!r} is not served here; use {self._service.model.name!r}",
                param="model",
                code="model_not_found",
            )

    def _heading(self, *, prefix: str = "cmpl") -> answers.Heading:
        model = self._service.model
        return answers.Heading(
            model=model.name, system_fingerprint=model.fingerprint, id=answers.new_id(prefix)
        )

    def _card(self) -> ModelCard:
        model = self._service.model
        owner = model.export.manifest.provenance.owner_namespace
        return ModelCard(
            id=model.name, created=model.loaded_at, owned_by=owner, max_model_len=model.max_model_len
        )


@contextmanager
def _refusals() -> Iterator[None]:
    """What the model's template or limits refuse is the client's error."""
    try:
        yield
    except RequestRefused as error:
        raise ApiError(400, str(error), param=error.param, code=error.code) from None
    except TemplateError as error:
        raise ApiError(400, str(error), param="messages", code="invalid_value") from None


def _logits(ids: list[list[int]], model: DeepseekV3ForCausalLM) -> list[list[list[float]]]:
    """Each sequence by itself: no padding, and no memory for all at once. Raises EngineError."""
    device = model.lm_head.weight.device
    found = []
    for row in ids:
        logits = model(torch.tensor([row], device=device))[0].float()
        if not torch.isfinite(logits).all():
            raise EngineError(NOT_FINITE)
        found.append(logits.tolist())
    return found


def _json(document: Any) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")
