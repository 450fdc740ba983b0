"""The same loop without Ray, Kubernetes or a coordinator: in this process, or in ranks that it starts.

    python -m deepseek_workloads.launch.local --run-config run.json [--ranks 2]

Prints the verdict as JSON; credentials come from the environment. Ctrl-C or SIGTERM writes a checkpoint and
ends; the same command goes on from it. With more than one rank they talk over gloo on the loopback.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.distributed as dist

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.contract.run_config import Storage, TrainingRun, parse_run
from deepseek_workloads.contract.run_file import UnusableRunConfig, read_run
from deepseek_workloads.launch.epochs import epoch_beginner
from deepseek_workloads.launch.failures import failure_of
from deepseek_workloads.launch.preflight import preflight, verdict_of
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.context import TrainContext
from deepseek_workloads.train.loop import train
from deepseek_workloads.train.monitor import LocalMonitor, Monitor

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
OpenStore = Callable[[Storage], ObjectStore]


@dataclass(frozen=True)
class Surroundings:
    """What tests put in place of the real ones; for one rank in this process only."""

    monitor: Monitor
    open_store: OpenStore = open_store
    draining: Callable[[], bool] = lambda: False


def train_here(run: TrainingRun, surroundings: Surroundings | None = None) -> Verdict:
    """One rank, in this process. Raises what `train.loop.train` raises."""
    around = surroundings or Surroundings(LocalMonitor())
    return train(run, _context(run, around, rank=0, world_size=1))


def train_ranks(run: TrainingRun, *, ranks: int) -> Verdict:
    """Each rank in a process of its own; a failed one ends all. Never raises for what happens in a rank."""
    spawn = multiprocessing.get_context("spawn")  # s3fs and torch do not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        pipes = [spawn.Pipe(duplex=False) for _ in range(ranks)]
        processes = [
            spawn.Process(target=_rank_process, args=(run.to_json(), rank, ranks, folder, writer))
            for rank, (_, writer) in enumerate(pipes)
        ]
        for process, (_, writer) in zip(processes, pipes, strict=True):
            process.start()
            writer.close()  # so that the end of the process is the end of the pipe
        try:
            with _told_to_end(processes):
                return _first_word([reader for reader, _ in pipes])
        finally:
            for process in processes:
                process.kill()
                process.join()


@contextmanager
def _told_to_end(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """SIGTERM and SIGINT go to the ranks, which write a checkpoint; this process waits for their verdict."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread's code
        return

    def forward(*_: object) -> None:
        for process in processes:
            if process.is_alive():
                process.terminate()

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_word(readers: list[Connection]) -> Verdict:
    """The failure that comes first explains the others; without one, rank 0's verdict."""
    waiting, verdict = dict(enumerate(readers)), None
    while waiting:
        for reader in multiprocessing.connection.wait(waiting.values()):
            rank = next(rank for rank, waited in waiting.items() if waited is reader)
            try:
                word = Verdict.model_validate_json(waiting.pop(rank).recv_bytes())
            except EOFError:
                return _verdict_of(
                    Failure(kind="failed", reason=reasons.PROCESS_CRASHED, message=f"rank {rank} crashed")
                )
            if word.outcome in ("Failed", "Retry"):
                return word
            verdict = word if rank == 0 or verdict is None else verdict
    assert verdict is not None
    return verdict


def _rank_process(document: bytes, rank: int, world_size: int, folder: str, words: Connection) -> None:
    run = parse_run(document)
    assert isinstance(run, TrainingRun)
    words.send_bytes(_train_rank(run, rank=rank, world_size=world_size, folder=folder).to_json())


def _train_rank(run: TrainingRun, *, rank: int, world_size: int, folder: str = "") -> Verdict:
    """SIGTERM and SIGINT are heard as a drain of the pod would be."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    around = Surroundings(LocalMonitor(), draining=told.is_set)
    try:
        if world_size > 1:
            dist.init_process_group(
                "gloo",
                init_method=(Path(folder) / "rendezvous").as_uri(),
                rank=rank,
                world_size=world_size,
                timeout=COLLECTIVE_TIMEOUT,
            )
        return train(run, _context(run, around, rank=rank, world_size=world_size))
    except Exception as error:
        return _verdict_of(failure_of(error, rank=rank))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _context(run: TrainingRun, around: Surroundings, *, rank: int, world_size: int) -> TrainContext:
    return TrainContext(
        rank=rank,
        world_size=world_size,
        local_rank=rank,
        open_store=around.open_store,
        begin_epoch=epoch_beginner(run.to_json().decode(), run, term=[]),
        monitor=around.monitor,
        draining=around.draining,
    )


def _verdict_of(failure: Failure) -> Verdict:
    return Verdict(
        outcome="Retry" if failure.kind in ("lost", "try-again") else "Failed",
        reason=failure.reason,
        message=failure.message,
        exit_code=failure.exit_code,
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.launch.local")
    parser.add_argument("--run-config", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=1)
    arguments = parser.parse_args(argv)
    try:
        run = read_run(arguments.run_config)
    except UnusableRunConfig as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_INPUT
    if not isinstance(run, TrainingRun):
        parser.error(f"{arguments.run_config}: kind {run.kind!r}: must be 'training'")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if refused := verdict_of(preflight(run, open_store)):
        verdict = refused
    elif arguments.ranks == 1:
        verdict = _train_rank(run, rank=0, world_size=1)
    else:
        verdict = train_ranks(run, ranks=arguments.ranks)
    print(verdict.to_json().decode(), flush=True)
    return verdict.exit_code or (ExitCode.DONE if verdict.outcome in ("Succeeded", "Stopped") else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
