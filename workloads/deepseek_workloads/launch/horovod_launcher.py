"""The driver's side of the connections to its worker pods: waits for all, starts the ranks, hears how they
end.

One group of ranks, once: a group that breaks ends the launcher, and the supervisor starts another one with
new processes everywhere. It does not know what the ranks do.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pydantic

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.launch.horovod_protocol import (
    MAX_LINE_BYTES,
    Ending,
    Launch,
    Slot,
    conclusion,
    failures_of,
    line_of,
)
from deepseek_workloads.supervise.epoch_protocol import Hello, parse_hello
from deepseek_workloads.supervise.epoch_server import HELLO_SECONDS, keep_alive
from deepseek_workloads.supervise.outcomes import most_telling

# The ranks that lose a peer say so at once; the pod of the lost one may need a moment longer to say why.
SETTLE_SECONDS = 2.0
Plan = Callable[[list[str]], list[Slot]]


class WorkersMissing(Exception):
    """Not every worker pod has connected within the time limit."""


@dataclass
class _Worker:
    hello: Hello
    writer: asyncio.StreamWriter
    ranks: set[int] = field(default_factory=set)  # launched there, and not ended


class Launcher:
    def __init__(self, *, token: str, nodes: int, term: list[int], plan: Plan) -> None:
        """`plan` gives the slots of all ranks from the pods' names, by worker index."""
        self._token, self._nodes, self._term, self._plan = token, nodes, term, plan
        self._workers: dict[int, _Worker] = {}  # by index
        self._changed = asyncio.Condition()
        self._launched = False
        self._endings: asyncio.Queue[Ending] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def listen(self, host: str, port: int) -> int:
        self._server = await asyncio.start_server(self._connected, host, port, limit=MAX_LINE_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def run(self, *, startup_seconds: float, waiting: Callable[[int], None]) -> Verdict | Failure:
        """`waiting` is told how many pods are there. Raises WorkersMissing."""
        await self._wait_for_workers(startup_seconds, waiting)
        world_size = self._launch()
        endings: dict[int, Ending] = {}
        settled: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(settled):
                    ending = await self._endings.get()
            except TimeoutError:
                return most_telling(failures_of(endings))
            endings.setdefault(ending.rank, ending)
            found = conclusion(endings, world_size=world_size)
            if isinstance(found, Verdict):
                return found
            if found is not None:
                return most_telling(found)
            if ending.failure is not None and settled is None:
                settled = asyncio.get_running_loop().time() + SETTLE_SECONDS

    async def close(self) -> None:
        """Workers see it at once: their ranks are of no use any more."""
        if self._server is not None:
            self._server.close()
        for writer in self._serving:
            writer.transport.abort()
        await asyncio.gather(*self._serving.values())

    async def _wait_for_workers(self, seconds: float, waiting: Callable[[int], None]) -> None:
        try:
            async with asyncio.timeout(seconds), self._changed:
                while len(self._workers) < self._nodes:
                    waiting(len(self._workers))
                    await self._changed.wait()
        except TimeoutError:
            raise WorkersMissing(
                f"{len(self._workers)} of {self._nodes} worker pods have connected within {seconds:.0f} s"
            ) from None

    def _launch(self) -> int:
        """Returns the number of ranks."""
        self._launched = True
        slots = self._plan([worker.hello.pod for _, worker in sorted(self._workers.items())])
        for worker in self._workers.values():
            mine = [slot for slot in slots if slot.hostname == worker.hello.pod]
            worker.ranks = {slot.rank for slot in mine}
            worker.writer.write(line_of(Launch(slots=mine, term=self._term)))
        return len(slots)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving[writer] = task
        task.add_done_callback(lambda _: self._serving.pop(writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_alive(writer)
        with contextlib.suppress(OSError, ValueError):  # reset, keepalive, a line too long
            hello = await self._authenticate(reader)
            if hello is not None and not self._launched and 0 <= hello.index < self._nodes:
                await self._follow(_Worker(hello, writer), reader)
        writer.close()

    async def _follow(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        index = worker.hello.index
        async with self._changed:
            self._workers[index] = worker  # of two pods with one index the later is the replacement
            self._changed.notify_all()
        try:
            while line := await reader.readline():
                ending = Ending.model_validate_json(line)
                worker.ranks.discard(ending.rank)
                self._endings.put_nowait(ending)
        except (OSError, pydantic.ValidationError):
            pass
        finally:
            self._leave(worker)

    def _leave(self, worker: _Worker) -> None:
        """Before the launch another may take its place; afterwards its ranks are lost."""
        for rank in worker.ranks:
            self._endings.put_nowait(Ending(rank=rank, failure=_lost(rank, worker.hello.pod)))
        if not self._launched and self._workers.get(worker.hello.index) is worker:
            del self._workers[worker.hello.index]

    async def _authenticate(self, reader: asyncio.StreamReader) -> Hello | None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                return parse_hello(await reader.readline(), token=self._token)
        except TimeoutError:
            return None


def _lost(rank: int, pod: str) -> Failure:
    """Its cause is not known here: a pod that is gone, or a process in it
    (`supervise.coordinator_machine`)."""
    return Failure(
        kind="try-again",
        reason=reasons.PEER_LOST,
        message=f"rank {rank}: the connection to its pod {pod} has ended",
        exit_code=ExitCode.TRY_AGAIN,
        rank=rank,
    )
