"""`Cluster` over a real API server: documents in, documents out.

The official asynchronous client signs and sends the requests; its typed models are left aside, because a
document that passes through a model of another Kubernetes version loses the fields that model lacks.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from deepseek_operator.cluster.interface import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Document,
    Forbidden,
    Rejected,
    Unavailable,
)
from deepseek_operator.cluster.kinds import Kind

FIELD_MANAGER: Final = "deepseek-operator"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_PAGE: Final = 500

RequestObserver = Callable[[str, str, int, float], None]
"""(verb, plural, HTTP status or 0, seconds) of each request, for metrics."""


class ApiServer:
    """See `interface.Cluster`."""

    def __init__(
        self, client: ApiClient, *, timeout_seconds: float = 15.0, observe: RequestObserver | None = None
    ) -> None:
        self._client = client
        self._timeout = timeout_seconds
        self._observe = observe or (lambda *_: None)

    async def get(self, kind: Kind, *, name: str, namespace: str = "") -> Document | None:
        try:
            return await self._send("get", kind, "GET", kind.path(namespace=namespace, name=name))
        except _NotFoundError:
            return None

    async def list_(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> list[Document]:
        query = {"labelSelector": ",".join(f"{k}={v}" for k, v in labels.items())} if labels else {}
        return await self._pages(kind, namespace, query, accept="application/json")

    async def list_metadata(self, kind: Kind, *, namespace: str = "") -> list[Document]:
        return await self._pages(kind, namespace, {}, accept=_METADATA_ONLY)

    async def create(self, kind: Kind, document: Document) -> Document:
        path = kind.path(namespace=document["metadata"].get("namespace", ""))
        query = {"fieldManager": FIELD_MANAGER}
        try:
            return await self._send("create", kind, "POST", path, query=query, body=document)
        except Conflict as error:
            raise AlreadyExists(str(error)) from error

    async def apply(self, kind: Kind, document: Document) -> Document:
        metadata = document["metadata"]
        path = kind.path(namespace=metadata.get("namespace", ""), name=metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        content_type = "application/apply-patch+yaml"
        return await self._send(
            "apply", kind, "PATCH", path, query=query, body=document, content_type=content_type
        )

    async def delete(
        self, kind: Kind, *, name: str, namespace: str, uid: str, grace_seconds: int | None = None
    ) -> bool:
        options: Document = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = kind.path(namespace=namespace, name=name)
        try:
            await self._send("delete", kind, "DELETE", path, body=options)
        except (_NotFoundError, Conflict):  # gone, or another object of the same name
            return False
        return True

    async def replace_status(self, kind: Kind, document: Document) -> Document:
        metadata = document["metadata"]
        path = kind.path(namespace=metadata["namespace"], name=metadata["name"], subresource="status")
        try:
            return await self._send(
                "update_status", kind, "PUT", path, query={"fieldManager": FIELD_MANAGER}, body=document
            )
        except _NotFoundError as error:
            raise Conflict(f"{kind.kind} {metadata['namespace']}/{metadata['name']} is gone") from error

    async def _pages(
        self, kind: Kind, namespace: str, query: dict[str, str], *, accept: str
    ) -> list[Document]:
        items: list[Document] = []
        page = {"limit": str(_PAGE), **query}
        while True:
            answer = await self._send(
                "list", kind, "GET", kind.path(namespace=namespace), query=page, accept=accept
            )
            items += answer.get("items") or []
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return items
            page = {"limit": str(_PAGE), **query, "continue": token}

    async def _send(
        self,
        verb: str,
        kind: Kind,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Document:
        started, status = time.monotonic(), 0
        try:
            request = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*request, _request_timeout=self._timeout)
            content, status = await response.read(), response.status
        except (TimeoutError, aiohttp.ClientError, OSError, ApiException) as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._observe(verb, kind.plural, status, time.monotonic() - started)
        if status >= 400:
            raise _error(f"{method} {path}", status, content)
        return _document(f"{method} {path}", content)


class _NotFoundError(ClusterError):
    """404; the public calls turn it into an answer."""


_ERRORS: Final[Mapping[int, type[ClusterError]]] = {
    400: Rejected,
    401: Unavailable,  # a token that is being rotated
    403: Forbidden,
    404: _NotFoundError,
    409: Conflict,
    422: Rejected,
    429: Unavailable,
}


def _error(request: str, status: int, content: bytes) -> ClusterError:
    message = _parse(content).get("message") or content[:200].decode(errors="replace")
    error = _ERRORS.get(status, Unavailable if status >= 500 else ClusterError)
    return error(f"{request}: {status}: {message}")


def _document(request: str, content: bytes) -> Document:
    """Of a success. Raises Unavailable: what has no object in it came from something between, and says
    nothing about what there is."""
    document = _parse(content)
    if not document:
        start = content[:200].decode(errors="replace")
        raise Unavailable(f"{request}: a success without an object in JSON: {start!r}")
    return document


def _parse(content: bytes) -> Document:
    """Empty when there is no object in it."""
    try:
        document: Any = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
