"""Both ends of the epoch connection over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from deepseek_workloads.supervise import epoch_server
from deepseek_workloads.supervise.epoch_client import EpochListener, follow_epochs
from deepseek_workloads.supervise.epoch_protocol import Hello
from deepseek_workloads.supervise.epoch_server import EpochServer, Peer

SECONDS = 10


class Follower:
    """Notes what a worker would be told."""

    def __init__(self, port: int, *, token: str = "secret") -> None:
        self.told: list[str] = []
        listener = EpochListener(
            connected=lambda epoch, address: self.told.append(f"epoch {epoch} at {address}"),
            disconnected=lambda: self.told.append("disconnected"),
            dismissed=lambda: self.told.append("dismissed"),
        )
        hello = Hello(token=token, pod="worker-0-0", index=0)
        self.leaving = asyncio.Event()
        self.task = asyncio.create_task(
            follow_epochs("127.0.0.1", port, hello=hello, listener=listener, leaving=self.leaving)
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - whatever the condition is made of
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[EpochServer, int]]:
    server = EpochServer("secret")
    await server.listen("127.0.0.1", 0)
    assert server._server is not None
    port = server._server.sockets[0].getsockname()[1]
    yield server, port
    server.end()
    server._server.close()


async def test_a_worker_waits_until_there_is_a_head(server: tuple[EpochServer, int]) -> None:
    epochs, port = server
    follower = Follower(port)
    await until(lambda: len(epochs._peers) == 1)
    assert follower.told == []
    epochs.begin(1)
    await until(lambda: follower.told == ["epoch 1 at 127.0.0.1"])
    assert epochs.connected() == [Peer("worker-0-0", 0)]
    follower.task.cancel()


async def test_a_worker_whose_pod_ends_says_so(server: tuple[EpochServer, int]) -> None:
    epochs, port = server
    epochs.begin(1)
    follower = Follower(port)
    await until(lambda: len(follower.told) == 1)
    assert epochs.leaving() == []
    follower.leaving.set()
    await until(lambda: epochs.leaving() == [Peer("worker-0-0", 0, leaving=True)])
    follower.task.cancel()


async def test_the_end_of_an_epoch_reaches_the_worker_which_comes_back(
    server: tuple[EpochServer, int],
) -> None:
    epochs, port = server
    epochs.begin(1)
    follower = Follower(port)
    await until(lambda: len(follower.told) == 1)
    epochs.end()
    await until(lambda: follower.told[-1] == "disconnected")
    epochs.begin(2)
    await until(lambda: follower.told[-1] == "epoch 2 at 127.0.0.1")
    follower.task.cancel()


async def test_dismissal_ends_the_worker(server: tuple[EpochServer, int]) -> None:
    epochs, port = server
    epochs.begin(1)
    follower = Follower(port)
    await until(lambda: len(follower.told) == 1)
    await epochs.dismiss(within_seconds=SECONDS)
    await asyncio.wait_for(follower.task, SECONDS)
    assert "dismissed" in follower.told


async def test_dismissal_without_workers_returns_at_once(server: tuple[EpochServer, int]) -> None:
    await asyncio.wait_for(server[0].dismiss(within_seconds=1000), SECONDS)


async def test_a_stranger_is_turned_away(server: tuple[EpochServer, int]) -> None:
    epochs, port = server
    epochs.begin(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'{"token":"guess","pod":"p","index":0}\n')
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""
    assert epochs.connected() == []
    writer.close()


async def test_a_stranger_that_says_nothing_is_hung_up_on(
    server: tuple[EpochServer, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_server, "HELLO_SECONDS", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server[1])
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""
    writer.close()


async def test_a_coordinator_that_is_not_there_yet_is_waited_for() -> None:
    epochs = EpochServer("secret")
    await epochs.listen("127.0.0.1", 0)
    assert epochs._server is not None
    port = epochs._server.sockets[0].getsockname()[1]
    epochs._server.close()
    await epochs._server.wait_closed()
    follower = Follower(port)
    epochs.begin(7)
    await epochs.listen("127.0.0.1", port)
    await until(lambda: follower.told == ["epoch 7 at 127.0.0.1"])
    follower.task.cancel()
    epochs.end()
    epochs._server.close()
