"""What a request has to pass before a route sees it: key, readiness, and its body's type, size and pace.

Plain ASGI. A body is read only where a route takes one. It also counts answers by route and code.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepseek_workloads.serve.api.errors import ApiError, not_ready
from deepseek_workloads.serve.api.keys import ApiKeys

# The kubelet, which probes, has no key; the document of types is the same for everybody.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
ANSWERED_ALWAYS = OPEN_PATHS | {"/metrics"}  # also by a replica whose engine has ended


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0  # from the headers to the end of the body
    predicted_logits: int = 2**20  # numbers in an answer of /predict


class Gate:
    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        with_body: Collection[str],
        keys: ApiKeys | None,
        unready: Callable[[], str | None],
        count: Callable[[str, int], None],
    ) -> None:
        """`with_body`: paths whose POST has one. `unready` says why requests cannot be answered; None: they
        can."""
        self._app, self._limits, self._keys = app, limits, keys
        self._with_body = with_body
        self._unready, self._count = unready, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope["path"], message["status"])
            await send(message)

        try:
            received = await self._admit(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, counted)
            return
        await self._app(scope, received, counted)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Raises ApiError."""
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN_PATHS:
            self._check_key(headers)
        if scope["path"] not in ANSWERED_ALWAYS and (why := self._unready()) is not None:
            raise not_ready(why)
        if scope["method"] != "POST" or scope["path"] not in self._with_body:
            return receive
        _check_content_type(headers.get("content-type", ""))
        return _replay(await self._read_body(headers, receive), receive)

    def _check_key(self, headers: Headers) -> None:
        if self._keys is None:
            return
        if not self._keys.allow(headers.get("authorization", "").encode("latin-1")):
            raise ApiError(
                401,
                "Authorization: no API key of this service; send `Authorization: Bearer KEY`",
                kind="authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _read_body(self, headers: Headers, receive: Receive) -> bytes:
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._collect(receive)
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise ApiError(
                408,
                f"the body did not come within {seconds:.0f} s; send it at once",
                code="request_timeout",
                headers={"Connection": "close"},
            ) from None

    async def _collect(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ApiError(400, "the client has gone before its body had come")
            body += message.get("body", b"")
            if len(body) > self._limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body is larger than {self._limits.body_bytes} bytes, which is the limit; send less",
            code="request_too_large",
            headers={"Connection": "close"},
        )


def _check_content_type(value: str) -> None:
    if value.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            400,
            f"Content-Type: {value[:80]!r}: must be application/json; with curl add "
            "-H 'Content-Type: application/json'",
            code="invalid_content_type",
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The whole body at once, then what really comes: the client's going away."""
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed
