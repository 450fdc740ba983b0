"""A small client of the API server for the tool's own needs: JSON over TLS with the admin's certificate."""

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local_kubernetes.errors import LocalKubernetesError

Object = dict[str, Any]
_TIMEOUT = 10.0
_FIELD_MANAGER = "local-kubernetes"


class ApiError(LocalKubernetesError):
    """The API server answered with an error; `status` is the HTTP status."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path}: HTTP {status}: {body}")
        self.status = status


class Api:
    def __init__(self, url: str, *, pki: Path) -> None:
        self._host = urlsplit(url).netloc
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, kind: str = "json"
    ) -> str:
        """The body of the answer. Raises ApiError for an error status and OSError when nobody answers."""
        connection = http.client.HTTPSConnection(self._host, context=self._tls, timeout=_TIMEOUT)
        try:
            headers = {"Content-Type": f"application/{kind}", "Accept": "application/json"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 400:
            raise ApiError(method, path, response.status, text)
        return text

    def get(self, path: str) -> Object:
        return dict(json.loads(self.request("GET", path)))

    def items(self, path: str) -> list[Object]:
        return list(self.get(path)["items"])

    def apply(self, path: str, document: Mapping[str, Any]) -> None:
        """Server-side apply of the object at the path."""
        query = f"?fieldManager={_FIELD_MANAGER}&force=true"
        self.request("PATCH", path + query, document, kind="apply-patch+yaml")

    def is_ready(self) -> bool:
        """Whether the API server serves and has finished its start-up hooks."""
        try:
            self.request("GET", "/readyz")
        except (OSError, ApiError, http.client.HTTPException):
            return False
        return True

    def exists(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True
