"""On a worker pod: starts the pod's ranks when the driver says so, and tells it how each of them ended.

`python -m deepseek_workloads.launch.horovod_node --run-config F --coordinator-ip IP`, under the supervisor.
After SIGTERM it ends with its last rank: ranks learn of a drain from the supervisor's file, and write a
checkpoint.
"""

import argparse
import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.launch.horovod_protocol import (
    MAX_LINE_BYTES,
    Launch,
    Slot,
    ending_of,
    line_of,
    rank_environment,
)
from deepseek_workloads.supervise.epoch_protocol import Hello, hello_line
from deepseek_workloads.supervise.epoch_server import keep_alive

RETRY_SECONDS = 0.1
SIGNAL_BASE = 128


class Node:
    def __init__(self, run_config: str, *, coordinator_ip: str, scratch: Path) -> None:
        self._run_config, self._coordinator_ip, self._scratch = run_config, coordinator_ip, scratch
        self._ranks: asyncio.Future[list[None]] | None = None  # all of them, once they are started

    async def run(self) -> int:
        """Until the driver is gone, or until the ranks of a draining pod have ended."""
        draining = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, draining.set)
        followed = asyncio.create_task(self._follow_driver())
        drained = asyncio.create_task(draining.wait())
        await _first_of(followed, drained)
        if not followed.done() and self._ranks is not None:
            await _first_of(followed, self._ranks)
        if self._ranks is not None and self._ranks.cancel():
            await asyncio.gather(self._ranks, return_exceptions=True)
        return ExitCode.DONE if draining.is_set() else ExitCode.TRY_AGAIN

    async def _follow_driver(self) -> None:
        """Returns when the connection over which the ranks were launched has ended."""
        while self._ranks is None:
            try:
                reader, writer = await asyncio.open_connection(
                    self._coordinator_ip, environment.HOROVOD_LAUNCHER_PORT, limit=MAX_LINE_BYTES
                )
                keep_alive(writer)
                writer.write(hello_line(_hello()))
                if line := await reader.readline():
                    self._launch(Launch.model_validate_json(line), writer)
                    await reader.read()
                writer.close()
            except OSError:  # the driver is not there yet, or not any more
                pass
            if self._ranks is None:
                await asyncio.sleep(RETRY_SECONDS)

    def _launch(self, launch: Launch, writer: asyncio.StreamWriter) -> None:
        self._ranks = asyncio.gather(*(self._rank(slot, launch.term, writer) for slot in launch.slots))

    async def _rank(self, slot: Slot, term: Sequence[int], writer: asyncio.StreamWriter) -> None:
        left = self._scratch / f"horovod-rank-{slot.rank}.json"
        left.unlink(missing_ok=True)
        process = await self._start(slot, term, left)
        code = await process.wait()
        exit_code = code if code >= 0 else SIGNAL_BASE - code
        document = left.read_bytes() if left.exists() else None
        writer.write(line_of(ending_of(slot.rank, exit_code=exit_code, document=document)))
        await writer.drain()

    async def _start(self, slot: Slot, term: Sequence[int], ending_file: Path) -> Process:
        environ = rank_environment(
            slot,
            rendezvous_host=self._coordinator_ip,
            rendezvous_port=environment.HOROVOD_RENDEZVOUS_PORT,
        )
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deepseek_workloads.launch.horovod_rank",
            f"--run-config={self._run_config}",
            f"--ending-file={ending_file}",
            f"--term={','.join(map(str, term))}",
            env={**os.environ, **environ},
        )


async def _first_of(*awaited: "asyncio.Future[Any]") -> None:
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)


def _hello() -> Hello:
    return Hello(
        token=os.environ[environment.JOB_TOKEN],
        pod=os.environ[environment.POD_NAME],
        index=int(os.environ.get(environment.WORKER_INDEX, "0")),
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.launch.horovod_node")
    parser.add_argument("--run-config", required=True)
    parser.add_argument("--coordinator-ip", required=True)
    arguments = parser.parse_args(argv)
    scratch = Path(environment.SCRATCH_DIR)
    return asyncio.run(_run(arguments.run_config, arguments.coordinator_ip, scratch))


async def _run(run_config: str, coordinator_ip: str, scratch: Path) -> int:
    return await Node(run_config, coordinator_ip=coordinator_ip, scratch=scratch).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
