"""Connections to a port of this machine, as the kernel lists them."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from deepseek_workloads.supervise import connections


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, address = request.param
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = socket.socket(family)
    server.bind((address, 0))
    server.listen()
    yield server
    server.close()


def test_only_established_connections_to_the_port_count(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert connections.established(port) == 0

    client = socket.create_connection(listener.getsockname()[:2])
    accepted, _ = listener.accept()

    assert connections.established(port) == 1
    accepted.close()
    client.close()
    assert connections.established(port) == 0


async def test_quiet_is_when_nothing_was_busy_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.05)
    busy = [True, False, True, False]

    quiet = await connections.until_quiet(lambda: busy.pop(0) if busy else False, limit_seconds=30)

    assert quiet
    assert busy == []


async def test_what_stays_busy_is_waited_for_no_longer_than_the_limit() -> None:
    async with asyncio.timeout(30):
        assert not await connections.until_quiet(lambda: True, limit_seconds=0.2)
