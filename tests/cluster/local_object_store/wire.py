"""One end of an HTTP/1.1 connection: heads are read, bodies are passed on in large pieces. No parsing beyond
what says where a message ends."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

_PIECE = 1024 * 1024  # bytes
_HEAD_LIMIT = 64 * 1024  # bytes
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s


@dataclass(frozen=True)
class Head:
    first_line: str
    fields: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str:
        return next((value for field, value in self.fields if field.lower() == name), "")

    @property
    def length(self) -> int | None:
        """Of the body; None: it is chunked, or (of an answer) as long as the connection lasts."""
        if self.value("transfer-encoding").lower() == "chunked":
            return None
        return int(self.value("content-length") or 0)

    @property
    def chunked(self) -> bool:
        return self.length is None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this message."""
        asked = self.value("connection").lower()
        return asked == "close" or ("HTTP/1.0" in self.first_line and asked != "keep-alive")

    def without(self, *names: str) -> "Head":
        return Head(self.first_line, tuple(field for field in self.fields if field[0].lower() not in names))

    def encoded(self) -> bytes:
        lines = [self.first_line, *(f"{name}: {value}" for name, value in self.fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Wire:
    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._rest = b""

    async def head(self) -> Head | None:
        """None: the other side has ended the connection."""
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            piece = await self._loop.sock_recv(self._socket, _PIECE)
            if not piece or len(self._rest) > _HEAD_LIMIT:
                return None
            self._rest += piece
        first, *lines = self._rest[:end].decode("latin-1").split("\r\n")
        self._rest = self._rest[end + 4 :]
        pairs = (line.partition(":") for line in lines)
        return Head(first, tuple((name, value.strip()) for name, _, value in pairs))

    async def send(self, content: bytes | memoryview) -> None:
        await self._loop.sock_sendall(self._socket, content)

    async def pass_on(
        self, target: "Wire | None", size: int, change: Callable[[memoryview], None] | None = None
    ) -> None:
        """`size` bytes to `target` (None: to nobody); `change` may alter the first piece. Raises OSError."""
        buffer = memoryview(bytearray(min(_PIECE, max(size, 1))))
        while size:
            taken = await self._receive(buffer[: min(len(buffer), size)])
            if change is not None:
                change(buffer[:taken])
                change = None
            if target is not None:
                await target.send(buffer[:taken])
            size -= taken

    async def pass_on_chunks(self, target: "Wire | None") -> None:
        while True:
            line = await self._line()
            if target is not None:
                await target.send(line)
            size = int(line.split(b";")[0], 16)
            await self.pass_on(target, size + 2)  # and the end of its line
            if size == 0:
                return

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.close()

    async def _line(self) -> bytes:
        while (end := self._rest.find(b"\n")) < 0:
            piece = await self._loop.sock_recv(self._socket, _PIECE)
            if not piece:
                raise ConnectionResetError("ended within a chunked body")
            self._rest += piece
        line, self._rest = self._rest[: end + 1], self._rest[end + 1 :]
        return line

    async def _receive(self, into: memoryview) -> int:
        if self._rest:
            taken = min(len(into), len(self._rest))
            into[:taken] = self._rest[:taken]
            self._rest = self._rest[taken:]
            return taken
        taken = await self._loop.sock_recv_into(self._socket, into)
        if not taken:
            raise ConnectionResetError("ended within a body")
        return taken
