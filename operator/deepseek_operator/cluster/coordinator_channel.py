"""The operator's side of the HTTP channel to the coordinators of runs. It does not know what a run is.

Answers are limited in size and time: a coordinator is a tenant's pod and is not trusted to be brief.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp
from pydantic import ValidationError

from deepseek_operator.cluster.interface import PushAnswer
from deepseek_workloads.contract.environment import COORDINATOR_PORT
from deepseek_workloads.contract.messages import MAX_PROGRESS_BYTES, Control, Progress

_LOG = logging.getLogger(__name__)
_MAX_LOGGED: Final = 200  # characters


class CoordinatorChannel:
    """See `interface.Coordinators`; use as an asynchronous context manager.

    `on_invalid` is called for each answer to /progress that is none: a count, since what a tenant's pod says
    must not fill the log.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 2.0,
        port: int = COORDINATOR_PORT,
        on_invalid: Callable[[], object] = lambda: None,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._port = port
        self._on_invalid = on_invalid
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No cookies, no proxies, no redirects: pods are reached directly or not at all.
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def progress(self, pod_ip: str) -> Progress | None:
        try:
            async with self._open().get(self._url(pod_ip, "progress"), allow_redirects=False) as response:
                if response.status != HTTPStatus.OK:
                    return None
                content = await _read_at_most(response, MAX_PROGRESS_BYTES)
            return Progress.model_validate_json(content) if content is not None else None
        except ValidationError as error:
            self._on_invalid()
            _LOG.debug("the coordinator at %s answered with no progress: %s", pod_ip, _first_of(error))
            return None
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

    async def push(self, pod_ip: str, *, control: Control, token: str) -> PushAnswer:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            async with self._open().post(
                self._url(pod_ip, "control"), data=control.to_json(), headers=headers, allow_redirects=False
            ) as response:
                if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                    return PushAnswer.REFUSED
                taken = response.status < HTTPStatus.MULTIPLE_CHOICES
                return PushAnswer.TAKEN if taken else PushAnswer.UNREACHABLE
        except (TimeoutError, aiohttp.ClientError, OSError):
            return PushAnswer.UNREACHABLE

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("CoordinatorChannel is used outside of its context")
        return self._session

    def _url(self, pod_ip: str, path: str) -> str:
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
        return f"http://{host}:{self._port}/{path}"


def _first_of(error: ValidationError) -> str:
    """On one line and short, whatever the tenant wrote."""
    first = error.errors(include_url=False, include_context=False)[0]
    text = f"{first['loc']!r}: {first['msg']!r}, given {first['input']!r}"
    return text[:_MAX_LOGGED].encode("unicode_escape").decode()


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """None when the body is longer than `limit` bytes."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(4096):
        content += chunk
        if len(content) > limit:
            return None
    return bytes(content)
