"""The coordinator's end of the epoch connections. It carries no data: that it is up is the message."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field, replace

from deepseek_workloads.supervise import epoch_protocol

HELLO_SECONDS = 10.0
# A worker behind a broken network is noticed after about KEEPALIVE_IDLE + COUNT * INTERVAL seconds.
KEEPALIVE_IDLE_SECONDS = 5
KEEPALIVE_INTERVAL_SECONDS = 2
KEEPALIVE_COUNT = 3


@dataclass(frozen=True)
class Peer:
    pod: str
    index: int
    leaving: bool = False  # its pod ends


@dataclass
class EpochServer:
    """Workers are let in between `begin` and `end`; those that come earlier wait for `begin`."""

    token: str
    _epoch: int | None = None
    _began: asyncio.Event = field(default_factory=asyncio.Event)
    _peers: dict[asyncio.StreamWriter, Peer | None] = field(default_factory=dict)
    _nobody_left: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(
            self._serve, host, port, limit=epoch_protocol.MAX_LINE_BYTES
        )

    def begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._began.set()

    def end(self) -> None:
        """Abort every connection: a peer sees it at once, and buffered lines are of no interest."""
        self._epoch = None
        self._began.clear()
        for writer in list(self._peers):
            writer.transport.abort()
        self._peers.clear()

    async def dismiss(self, *, within_seconds: float) -> None:
        """The run is over: tell every worker, and wait for them to hang up."""
        peers = [writer for writer, peer in self._peers.items() if peer is not None]
        for writer in peers:
            writer.write(epoch_protocol.DONE)
        self._note_peers()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._nobody_left.wait()
        self.end()

    def connected(self) -> list[Peer]:
        return sorted((p for p in self._peers.values() if p is not None), key=lambda peer: peer.index)

    def leaving(self) -> list[Peer]:
        return [peer for peer in self.connected() if peer.leaving]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_alive(writer)
        self._peers[writer] = None
        try:
            hello = await self._authenticate(reader)
            if hello is None:
                return
            await self._began.wait()
            if writer not in self._peers or self._epoch is None:
                return
            peer = Peer(hello.pod, hello.index)
            self._peers[writer] = peer
            self._note_peers()
            writer.write(epoch_protocol.epoch_line(self._epoch))
            while line := await reader.readline():  # until it hangs up
                if line == epoch_protocol.LEAVING and writer in self._peers:
                    self._peers[writer] = replace(peer, leaving=True)
        except (OSError, ValueError):  # reset, keepalive, a line too long
            pass
        finally:
            self._peers.pop(writer, None)
            self._note_peers()
            writer.close()

    def _note_peers(self) -> None:
        if self.connected():
            self._nobody_left.clear()
        else:
            self._nobody_left.set()

    async def _authenticate(self, reader: asyncio.StreamReader) -> epoch_protocol.Hello | None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                return epoch_protocol.parse_hello(await reader.readline(), token=self.token)
        except TimeoutError:
            return None


def keep_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
