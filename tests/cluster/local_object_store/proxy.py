"""Stands between a client and an S3 server: adds latency to every request, and breaks those it is told to.

Latency is added to the first byte of each answer, counted from the arrival of the request: requests at the
same time wait at the same time, and bodies travel at full speed. What a round trip costs to connect, and a
limit of bandwidth, are not modelled. `python -m local_object_store --upstream URL --latency-ms 200`
runs it in a process of its own until its standard input ends.
"""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from local_object_store.faults import Fault, Faults, Kind
from local_object_store.wire import Head, Wire

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BACKLOG = 256


class Proxy:
    """In a thread of its own, from `with` to its end. Its port is its own before, and refuses connections."""

    def __init__(self, upstream: str, *, latency_seconds: float = 0.0) -> None:
        """`upstream`: http://host:port."""
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "", address.port or 80)
        self.latency_seconds = latency_seconds
        self.requests: list[str] = []  # METHOD PATH of each, also of those that break
        self._faults = Faults()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._run, name="object-store-proxy", daemon=True)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def fail(self, *kinds: Kind, method: str = "", path: str = "", seconds: float = 0.0) -> None:
        """One request each, in this order, of those with that method and that in their path."""
        self._faults.add([Fault(kind, method, path, seconds) for kind in kinds])

    def heal(self) -> None:
        """Forget the faults that have met no request yet."""
        self._faults.replace([])

    def hold(self) -> None:
        """Requests are taken and not answered until `release`."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    def __enter__(self) -> Self:
        self._listener.listen(_BACKLOG)
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        accepting = self._loop.create_task(self._accept())
        self._loop.run_forever()
        tasks = [accepting, *asyncio.all_tasks(self._loop)]
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self) -> None:
        serving: set[asyncio.Task[None]] = set()
        while True:
            connection, _ = await self._loop.sock_accept(self._listener)
            task = self._loop.create_task(self._serve(Wire(connection)))
            serving.add(task)
            task.add_done_callback(serving.discard)

    async def _serve(self, client: Wire) -> None:
        """One connection of a client, with one of its own to the server."""
        server: Wire | None = None
        try:
            while (request := await client.head()) is not None:
                if server is None:
                    server = await self._connect()
                if not await self._exchange(client, server, request):
                    return
        except OSError:
            return  # either side is gone, which the other one sees
        finally:
            client.close()
            if server is not None:
                server.close()

    async def _connect(self) -> Wire:
        connection = socket.socket()
        connection.setblocking(False)
        await self._loop.sock_connect(connection, self._upstream)
        return Wire(connection)

    async def _exchange(self, client: Wire, server: Wire, request: Head) -> bool:
        """One request and its answer; False where the connections end with it."""
        arrived = self._loop.time()
        method, path, _ = request.first_line.split(" ", 2)
        self.requests.append(f"{method} {path}")
        fault = self._faults.take(method, path)
        if fault.kind == "reset":
            client.close(reset=True)
            return False
        await self._open.wait()
        refused = fault.kind in ("busy", "error")
        await _pass_on_request(client, None if refused else server, request)
        answer = None if refused else await server.head()
        if fault.kind == "answer lost":
            client.close(reset=True)
            return False
        waits = self.latency_seconds + (fault.seconds if fault.kind == "stall" else 0.0)
        await asyncio.sleep(max(0.0, arrived + waits - self._loop.time()))
        if answer is None:
            await client.send(_refusal(fault.kind, bodiless=method == "HEAD"))
            return False
        whole = await _pass_on_answer(server, client, answer, bodiless=method == "HEAD", fault=fault)
        return whole and not answer.closes and not request.closes


async def _pass_on_request(client: Wire, server: Wire | None, request: Head) -> None:
    """None: the request is taken, and nobody hears of it."""
    if server is not None:
        await server.send(request.without("expect").encoded())
    if request.value("expect"):
        await client.send(_CONTINUE)
    if request.chunked:
        await client.pass_on_chunks(server)
    else:
        await client.pass_on(server, request.length or 0)


async def _pass_on_answer(server: Wire, client: Wire, answer: Head, *, bodiless: bool, fault: Fault) -> bool:
    """Whether all of it went."""
    await client.send(answer.encoded())
    if bodiless or " 204 " in answer.first_line or " 304 " in answer.first_line:
        return True
    if answer.chunked:
        await server.pass_on_chunks(client)
        return True
    size = answer.length or 0
    if fault.kind in ("cut", "reset in body"):
        await server.pass_on(client, size // 2)
        client.close(reset=fault.kind == "reset in body")
        return False
    await server.pass_on(client, size, _flip_a_bit if fault.kind == "flip" else None)
    return True


def _flip_a_bit(content: memoryview) -> None:
    content[len(content) // 2] ^= 1


def _refusal(kind: Kind, *, bodiless: bool) -> bytes:
    status, code = ("503 Slow Down", "SlowDown") if kind == "busy" else ("500 Internal", "InternalError")
    body = f"<Error><Code>{code}</Code><Message>asked for by a test</Message></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + (b"" if bodiless else body)
