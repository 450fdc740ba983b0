"""Every error is an OpenAI error object, whatever went wrong; nothing of the server's inside shows in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from deepseek_workloads.serve.engine.answer import EngineError, QueueFull

RETRY_AFTER_SECONDS = 1
INVALID_JSON = "invalid_json"
MAX_SHOWN = 80
UNSUPPORTED_VALUE = "unsupported"  # type of a validation error: valid in OpenAI's API, and not here
# Of OpenAI's API, and not here: a value other than the neutral one is refused, never ignored.
UNSUPPORTED = frozenset(
    {
        "audio",
        "best_of",
        "echo",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "suffix",
        "tool_choice",
        "tools",
        "top_logprobs",
        "web_search_options",
    }
)


class ErrorObject(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    error: ErrorObject


class ApiError(Exception):
    """Ends a request. `message` names the field or object, the value, the rule and the remedy."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.error = ErrorObject(message=message, type=kind, param=param, code=code)

    def response(self) -> JSONResponse:
        document = ErrorResponse(error=self.error).model_dump()
        return JSONResponse(document, status_code=self.status, headers=self.headers)


def queue_full(error: QueueFull) -> ApiError:
    return ApiError(
        429,
        f"{error}; try again later, or give the service more replicas",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def engine_failed(error: EngineError) -> ApiError:
    return ApiError(500, str(error), kind="server_error", code="engine_error")


def not_ready(why: str) -> ApiError:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return ApiError(503, why, kind="server_error", code="not_ready", headers=headers)


def install_handlers(app: FastAPI) -> None:
    async def api_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response()

    async def full(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, QueueFull)
        return queue_full(error).response()

    async def failed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EngineError)
        return engine_failed(error).response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _of_validation(error.errors()).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _of_http(error).response()

    async def unexpected(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - it is in the log
        return ApiError(500, "internal error; the log of the replica has it", kind="server_error").response()

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(QueueFull, full)
    app.add_exception_handler(EngineError, failed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _of_http(error: HTTPException) -> ApiError:
    if error.status_code == 400:  # nothing else raises it than the reading of a body
        return _unreadable(error.__cause__)
    messages = {
        404: "no such route; see /openapi.json",
        405: "this route does not take this method; see /openapi.json",
    }
    message = messages.get(error.status_code, str(error.detail))
    return ApiError(error.status_code, message, headers=error.headers)


def _unreadable(cause: BaseException | None) -> ApiError:
    """Of a body that could not be parsed."""
    match cause:
        case UnicodeDecodeError():
            why = f"it is not UTF-8 (at byte {cause.start}); encode it so"
        case RecursionError():
            why = "it is nested too deeply; no request needs more than a few levels"
        case _:
            why = "it must be one object; a number may have 4300 digits"
    return ApiError(400, f"the body is not JSON that can be read: {why}", code=INVALID_JSON)


def _of_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """Of the first one; the deepest of a union's alternatives says most."""
    for error in errors:
        if error["type"] == "json_invalid":
            why, place = error["ctx"]["error"], error["loc"][-1]
            return ApiError(400, f"the body is not JSON: {why}, at character {place}", code=INVALID_JSON)
        if tuple(error["loc"]) == ("body",):
            found = _kind(error.get("input"))
            return ApiError(400, f"the body must be a JSON object; it is {found}", code=INVALID_JSON)
    error = max(errors, key=lambda error: len(error["loc"]))
    place = [part for part in error["loc"][1:] if isinstance(part, int) or part.isidentifier()]
    field = str(place[0]) if place else None
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if error["type"] == UNSUPPORTED_VALUE:
        return ApiError(400, f"{path}: {error['msg']}", param=field, code="unsupported")
    if field in UNSUPPORTED:
        return ApiError(
            400, f"{field}: not supported by this server; leave it out", param=field, code="unsupported"
        )
    if error["type"] == "extra_forbidden":
        return ApiError(
            400, f"{path}: unknown parameter; leave it out", param=field, code="unknown_parameter"
        )
    shown = "" if error["type"] == "missing" else f" {_shown(error.get('input'))}:"
    return ApiError(400, f"{path or 'body'}:{shown} {error['msg']}", param=field, code="invalid_value")


def _kind(value: object) -> str:
    names: dict[type, str] = {list: "a list", str: "a text", int: "a number", float: "a number"}
    return "empty or null" if value is None else names.get(type(value), "something else")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
