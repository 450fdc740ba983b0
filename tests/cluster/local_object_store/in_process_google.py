"""Google Cloud Storage's XML API in a thread of this process: the in-process S3 server behind other headers.

The two protocols share methods, paths, listings and uploads in parts. What differs here is how a create says
its condition (`x-goog-if-generation-match: 0`) and how a request is signed.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server

_ANYBODY = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)
# What a service account's key says where nobody is to be asked for a token.
SERVICE_ACCOUNT_KEY = json.dumps(
    {"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": True}
)


class _TranslatedHeaders:
    def __init__(self, server: Callable[..., Iterable[bytes]], *, conditions: bool) -> None:
        self._server, self._conditions = server, conditions

    def __call__(self, environ: MutableMapping[str, Any], start: Any) -> Iterable[bytes]:
        environ["HTTP_AUTHORIZATION"] = _ANYBODY
        environ["RAW_URI"] = f"{quote(environ['PATH_INFO'])}?{environ['QUERY_STRING']}"  # '-' may be quoted
        if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0" and self._conditions:
            environ["HTTP_IF_NONE_MATCH"] = "*"
        return self._server(environ, start)


@contextmanager
def in_process_google_server(*, conditions: bool = True) -> Iterator[str]:
    """Its URL. Without `conditions` it is a store that ignores them."""
    application: Any = _TranslatedHeaders(create_backend_app("s3"), conditions=conditions)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
