"""The worker's end of the epoch connection: connects again and again, until it is told that all is done."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from deepseek_workloads.supervise import epoch_protocol
from deepseek_workloads.supervise.epoch_server import keep_alive

CONNECT_SECONDS = 3.0
# DNS and a listening coordinator come within seconds of each other; a lost try costs one packet.
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class EpochListener:
    connected: Callable[[int, str], None]  # the epoch, and the coordinator's IP
    disconnected: Callable[[], None]
    dismissed: Callable[[], None]


async def follow_epochs(
    host: str, port: int, *, hello: epoch_protocol.Hello, listener: EpochListener, leaving: asyncio.Event
) -> None:
    """Runs until dismissed or cancelled. `disconnected` follows every `connected`; once `leaving` is set the
    coordinator is told."""
    retry_seconds = FIRST_RETRY_SECONDS
    while True:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                # By name each time: a replaced coordinator has another address.
                reader, writer = await asyncio.open_connection(host, port)
        except OSError:  # a timeout is one, too
            await asyncio.sleep(retry_seconds)
            retry_seconds = min(LAST_RETRY_SECONDS, 1.5 * retry_seconds)
            continue
        saying = asyncio.create_task(_say_when_leaving(writer, leaving))
        try:
            keep_alive(writer)
            writer.write(epoch_protocol.hello_line(hello))
            if await _follow(reader, writer, listener):
                return
        except (OSError, ValueError):  # reset, keepalive, a line too long
            pass
        finally:
            saying.cancel()
            writer.close()
        retry_seconds = FIRST_RETRY_SECONDS
        await asyncio.sleep(retry_seconds)


async def _say_when_leaving(writer: asyncio.StreamWriter, leaving: asyncio.Event) -> None:
    await leaving.wait()
    writer.write(epoch_protocol.LEAVING)


async def _follow(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener: EpochListener
) -> bool:
    """True: dismissed. False: the connection ended."""
    address = str(writer.get_extra_info("peername")[0])
    following = False
    try:
        while line := await reader.readline():
            match epoch_protocol.parse_line(line):
                case epoch_protocol.EpochLine(epoch):
                    following = True
                    listener.connected(epoch, address)
                case epoch_protocol.DoneLine():
                    listener.dismissed()
                    return True
                case None:
                    return False
        return False
    finally:
        if following:
            listener.disconnected()
