"""What goes over the wire to the API server, and what its answers mean; the server here is a real one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from deepseek_operator.cluster.api_server import ApiServer
from deepseek_operator.cluster.interface import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Rejected,
    Unavailable,
)
from deepseek_operator.cluster.kinds import POD, SERVICE, TRAINING_JOB

POD_DOCUMENT = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "research"}}


class Wire:
    """Answers requests from a list and remembers them."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.requests: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(
            {
                "line": f"{request.method} {request.path}",
                "query": dict(request.query),
                "type": request.headers.get("Content-Type"),
                "accept": request.headers.get("Accept"),
                "body": json.loads(body) if body else None,
            }
        )
        status, document = self.answers.pop(0)
        if isinstance(document, str):
            return web.Response(text=document, status=status)
        return web.json_response(document, status=status)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def api(wire: Wire) -> AsyncIterator[ApiServer]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", wire.handle)
    server = TestServer(application)
    await server.start_server()
    client = ApiClient(Configuration(host=str(server.make_url("")).rstrip("/")))
    yield ApiServer(client, timeout_seconds=5)
    await client.close()
    await server.close()


async def test_get_of_what_is_not_there_is_none(api: ApiServer, wire: Wire) -> None:
    wire.answers = [(404, {"message": "not found"})]
    assert await api.get(POD, name="p", namespace="research") is None


async def test_a_list_is_read_in_pages(api: ApiServer, wire: Wire) -> None:
    wire.answers = [
        (200, {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    items = await api.list_(POD, namespace="research", labels={"x": "1", "y": "2"})
    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert wire.requests[0]["query"] == {"limit": "500", "labelSelector": "x=1,y=2"}
    assert wire.requests[1]["query"]["continue"] == "next"


async def test_metadata_is_asked_for_alone(api: ApiServer, wire: Wire) -> None:
    wire.answers = [(200, {"items": []})]
    await api.list_metadata(TRAINING_JOB)
    assert wire.requests[0]["line"] == "GET /apis/deepseek.dev/v1alpha1/deepseektrainingjobs"
    assert "PartialObjectMetadataList" in wire.requests[0]["accept"]


async def test_create_of_what_exists_says_so(api: ApiServer, wire: Wire) -> None:
    wire.answers = [(409, {"message": "exists"})]
    with pytest.raises(AlreadyExists):
        await api.create(POD, POD_DOCUMENT)


async def test_apply_is_a_forced_server_side_apply(api: ApiServer, wire: Wire) -> None:
    wire.answers = [(200, {"kind": "Status"})]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "research"}}
    await api.apply(SERVICE, service)
    request = wire.requests[0]
    assert request["line"] == "PATCH /api/v1/namespaces/research/services/s"
    assert request["type"] == "application/apply-patch+yaml"
    assert request["query"] == {"fieldManager": "deepseek-operator", "force": "true"}
    assert request["body"] == service


async def test_delete_names_the_uid_so_that_a_successor_is_safe(api: ApiServer, wire: Wire) -> None:
    wire.answers = [(200, {"kind": "Status"}), (409, {"message": "uid"}), (404, {})]
    answers = [await api.delete(POD, name="p", namespace="research", uid="u-1") for _ in range(3)]
    assert answers == [True, False, False]
    assert wire.requests[0]["body"]["preconditions"] == {"uid": "u-1"}


async def test_a_status_is_written_with_the_version_that_was_read(api: ApiServer, wire: Wire) -> None:
    wire.answers = [(409, {"message": "changed"}), (404, {"message": "gone"})]
    document = {"metadata": {"name": "j", "namespace": "research", "resourceVersion": "7"}, "status": {}}
    for _ in range(2):
        with pytest.raises(Conflict):
            await api.replace_status(TRAINING_JOB, document)
    assert wire.requests[0]["body"]["metadata"]["resourceVersion"] == "7"
    assert wire.requests[0]["line"].endswith("/namespaces/research/deepseektrainingjobs/j/status")


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Rejected), (401, Unavailable), (403, Forbidden), (422, Rejected), (429, Unavailable),
     (500, Unavailable), (503, Unavailable), (418, ClusterError)],
)  # fmt: skip
async def test_a_refusal_keeps_the_servers_words(
    api: ApiServer, wire: Wire, status: int, error: type[ClusterError]
) -> None:
    wire.answers = [(status, {"message": "because"})]
    with pytest.raises(error, match="because"):
        await api.create(POD, POD_DOCUMENT)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    client = ApiClient(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="GET /api/v1"):
        await ApiServer(client).list_(POD)
    await client.close()


async def test_every_request_is_observed(wire: Wire) -> None:
    seen: list[tuple[str, str, int]] = []
    client = ApiClient(Configuration(host="http://127.0.0.1:1"))
    api = ApiServer(client, observe=lambda verb, plural, status, _: seen.append((verb, plural, status)))
    with pytest.raises(Unavailable):
        await api.get(POD, name="p", namespace="research")
    await client.close()
    assert seen == [("get", "pods", 0)]


@pytest.mark.parametrize("body", ["", "<html>signed in</html>", "[]", '{"items": [', "{}"])
async def test_a_success_without_an_object_does_not_read_as_nothing_there(
    api: ApiServer, wire: Wire, body: str
) -> None:
    """What a proxy in between answered: pods would be created again, and objects taken for gone."""
    wire.answers = [(200, body), (200, body)]
    with pytest.raises(Unavailable, match="without an object"):
        await api.list_(POD, namespace="research")
    with pytest.raises(Unavailable, match="without an object"):
        await api.get(POD, name="p", namespace="research")
