"""Processes that stand for ranks, forked for each case from one that has imported torch already.

Not one set for all cases: torch remembers the process groups of meshes that a case before has left.
"""

import io
import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 180  # until ranks count as stuck
Case = Callable[[int, int, Any], Any]  # rank, world size, argument -> rank 0's result


class RankPool:
    """`run` raises AssertionError with the ranks' tracebacks."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._runs = 0
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []

    def run(self, case: Case, *, ranks: int, argument: Any) -> Any:
        """`case` is a function of a module, by whose name the ranks import it."""
        self._start(ranks)
        self._runs += 1
        rendezvous = str(Path(self._folder.name) / f"rendezvous-{self._runs}")
        pipes = self._pipes[:ranks]
        for pipe in pipes:
            pipe.send((case, ranks, rendezvous, argument))
        results, errors = {}, []
        waiting = dict(zip(pipes, range(ranks), strict=True))
        while waiting and not errors:
            ready = wait(list(waiting), timeout=SECONDS)
            errors += [] if ready else [f"ranks {sorted(waiting.values())} are stuck"]
            for pipe in ready:
                rank = waiting.pop(pipe)
                try:
                    results[rank], error = pipe.recv()
                except EOFError:
                    error = "the process ended"
                errors += [f"rank {rank}: {error}"] if error else []
        self.close()
        if errors:
            raise AssertionError("\n".join(errors))
        return torch.load(io.BytesIO(results[0]), weights_only=False)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._pipes = [], []

    def _start(self, ranks: int) -> None:
        context = get_context("forkserver")  # one import of torch for all
        context.set_forkserver_preload(["torch.distributed.fsdp", "deepseek_workloads.train.loop"])
        for rank in range(ranks):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)


def _serve(rank: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    case, ranks, rendezvous, argument = pipe.recv()
    try:
        pipe.send((_run(case, rank, ranks, rendezvous, argument), None))
    except BaseException:
        pipe.send((None, traceback.format_exc()))


def _run(case: Case, rank: int, ranks: int, rendezvous: str, argument: Any) -> bytes:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=SECONDS / 2),
    )
    try:
        result = case(rank, ranks, argument)
        dist.barrier()
    finally:
        dist.destroy_process_group()
    buffer = io.BytesIO()
    if rank == 0:
        torch.save(result, buffer)
    return buffer.getvalue()
