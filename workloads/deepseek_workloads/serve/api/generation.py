"""From a request to what the engine is asked, and from its deltas to OpenAI's answers and streams."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from deepseek_workloads.export.generate import Sampling
from deepseek_workloads.serve.api.errors import engine_failed
from deepseek_workloads.serve.api.schemas import (
    AnswerMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatDelta,
    Completion,
    CompletionChoice,
    CompletionRequest,
    FinishReason,
    GenerationRequest,
    TextPart,
    Usage,
)
from deepseek_workloads.serve.engine.answer import Answer, Delta, EngineError, Generation
from deepseek_workloads.serve.served_model import ServedModel

COMPLETION_TOKENS = 16  # OpenAI's default of /v1/completions


@dataclass(frozen=True)
class Heading:
    """What every part of an answer repeats."""

    model: str
    system_fingerprint: str
    id: str
    created: int = field(default_factory=lambda: int(time.time()))


def new_id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex}"


async def of_completion(request: CompletionRequest, model: ServedModel, *, default_seed: int) -> Generation:
    """Raises RequestRefused."""
    ids = await asyncio.to_thread(model.encode_prompt, _prompt(request))
    tokens = model.tokens_for_answer(ids, wanted=request.max_tokens, default=COMPLETION_TOKENS)
    return _generation(request, ids, tokens=tokens, default_seed=default_seed)


async def of_chat(request: ChatCompletionRequest, model: ServedModel, *, default_seed: int) -> Generation:
    """Raises RequestRefused and TemplateError."""
    messages = [{"role": message.role, "content": _text(message.content)} for message in request.messages]
    ids = await asyncio.to_thread(model.encode_messages, messages)
    wanted = request.max_completion_tokens or request.max_tokens
    tokens = model.tokens_for_answer(ids, wanted=wanted, default=None)
    return _generation(request, ids, tokens=tokens, default_seed=default_seed)


def _prompt(request: CompletionRequest) -> str | list[int]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt[0], str | list):
        return prompt[0]
    return [token for token in prompt if isinstance(token, int)]


def _text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _generation(
    request: GenerationRequest, prompt: tuple[int, ...], *, tokens: int, default_seed: int
) -> Generation:
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    sampling = Sampling(
        max_tokens=tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=default_seed if request.seed is None else request.seed,
    )
    return Generation(prompt, sampling, stop)


# ---- answers in one piece


async def whole(answer: Answer) -> tuple[str, FinishReason, int]:
    """Text, why it ended, tokens. Raises EngineError. Gives up its place when the caller is cancelled."""
    text: list[str] = []
    tokens = 0
    try:
        async for delta in answer.deltas():
            text.append(delta.text)
            tokens += delta.tokens
            if delta.finish_reason is not None:
                return "".join(text), delta.finish_reason, tokens
    finally:
        answer.cancel()
    raise EngineError("the answer ended without a reason")


def completion(heading: Heading, text: str, reason: FinishReason, usage: Usage) -> Completion:
    choice = CompletionChoice(text=text, finish_reason=reason)
    return Completion(**heading.__dict__, choices=[choice], usage=usage)


def chat_completion(heading: Heading, text: str, reason: FinishReason, usage: Usage) -> ChatCompletion:
    choice = ChatChoice(message=AnswerMessage(content=text), finish_reason=reason)
    return ChatCompletion(**heading.__dict__, choices=[choice], usage=usage)


def usage_of(generation: Generation, tokens: int) -> Usage:
    prompt = len(generation.prompt)
    return Usage(prompt_tokens=prompt, completion_tokens=tokens, total_tokens=prompt + tokens)


# ---- streams


def completion_chunk(heading: Heading, delta: Delta) -> Completion:
    choice = CompletionChoice(text=delta.text, finish_reason=delta.finish_reason)
    return Completion(**heading.__dict__, choices=[choice])


def completion_usage(heading: Heading, usage: Usage) -> Completion:
    return Completion(**heading.__dict__, choices=[], usage=usage)


def chat_role(heading: Heading) -> ChatCompletionChunk:
    return _chat_chunk(heading, ChatDelta(role="assistant", content=""), None)


def chat_chunk(heading: Heading, delta: Delta) -> ChatCompletionChunk:
    return _chat_chunk(heading, ChatDelta(content=delta.text), delta.finish_reason)


def chat_usage(heading: Heading, usage: Usage) -> ChatCompletionChunk:
    return ChatCompletionChunk(**heading.__dict__, choices=[], usage=usage)


def _chat_chunk(heading: Heading, delta: ChatDelta, reason: FinishReason | None) -> ChatCompletionChunk:
    choice = ChatChunkChoice(delta=delta, finish_reason=reason)
    return ChatCompletionChunk(**heading.__dict__, choices=[choice])


class EventStream(StreamingResponse):
    """Server-sent events of one answer. However it ends, even before it began, its place is given up."""

    def __init__(
        self,
        answer: Answer,
        *,
        first: BaseModel | None,
        chunk: Callable[[Delta], BaseModel],
        last: Callable[[int], BaseModel] | None,
    ) -> None:
        """`last` is made from the number of tokens."""
        self._answer = answer
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        events = _events(answer, first=first, chunk=chunk, last=last)
        super().__init__(events, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()


async def _events(
    answer: Answer,
    *,
    first: BaseModel | None,
    chunk: Callable[[Delta], BaseModel],
    last: Callable[[int], BaseModel] | None,
) -> AsyncIterator[str]:
    if first is not None:
        yield _event(first)
    tokens = 0
    try:
        async for delta in answer.deltas():
            tokens += delta.tokens
            if delta.text or delta.finish_reason is not None:
                yield _event(chunk(delta))
    except EngineError as error:  # the status is sent already
        yield f'data: {{"error":{engine_failed(error).error.model_dump_json()}}}\n\n'
        return
    if last is not None:
        yield _event(last(tokens))
    yield "data: [DONE]\n\n"


def _event(document: BaseModel) -> str:
    return f"data: {document.model_dump_json(exclude_none=False)}\n\n"
