"""One rank's process: joins Horovod's group, calls the loop, leaves a word about its end.

`python -m deepseek_workloads.launch.horovod_rank --run-config F --ending-file E --term 0,1`, with Horovod's
environment (`horovod_protocol.rank_environment`). It does not know what the loop does.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Verdict
from deepseek_workloads.contract.run_config import TrainingRun, parse_run
from deepseek_workloads.launch.epochs import epoch_beginner
from deepseek_workloads.launch.horovod_protocol import Ending
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.context import TrainContext, draining_by_file
from deepseek_workloads.train.monitor import ReportClient
from deepseek_workloads.train.replicas.folder import memory_replicas

if TYPE_CHECKING:
    import torch

    from deepseek_workloads.train.group import Group


@dataclass(frozen=True)
class Arguments:
    run_document: str
    ending_file: Path
    term: list[int]  # incarnation of the coordinator, attempt of its driver


def main(argv: Sequence[str]) -> int:
    arguments = _parse(argv)
    run = parse_run(arguments.run_document)
    assert isinstance(run, TrainingRun)
    rank = int(os.environ["HOROVOD_RANK"])
    monitor = report_client(rank, attempt=arguments.term[-1])
    try:
        verdict = train_rank(run, arguments, monitor, rank=rank)
        ending, code = Ending(rank=rank, verdict=verdict), int(ExitCode.DONE)
    except Exception as error:
        failure = _failure_of(error, rank=rank)
        if failure.kind == "failed":
            traceback.print_exc()
        ending, code = Ending(rank=rank, failure=failure), failure.exit_code
    finally:
        monitor.close()
    _write(arguments.ending_file, ending)
    return code


def train_rank(run: TrainingRun, arguments: Arguments, monitor: ReportClient, *, rank: int) -> Verdict:
    """Raises what `train.loop.train` raises, and HorovodInternalError when a peer is lost."""
    import horovod.torch as hvd  # torch: not before the channel is up

    from deepseek_workloads.train.loop import train

    hvd.init()
    context = TrainContext(
        rank=rank,
        world_size=int(os.environ["HOROVOD_SIZE"]),
        local_rank=int(os.environ["HOROVOD_LOCAL_RANK"]),
        open_store=open_store,
        begin_epoch=epoch_beginner(arguments.run_document, run, term=arguments.term),
        monitor=monitor,
        draining=draining_by_file(),
        memory=memory_replicas(run),
        join_group=group_joiner(run),
    )
    return train(run, context)


def group_joiner(
    run: TrainingRun, *, bucket_bytes: int | None = None
) -> "Callable[[int, int, torch.device], Group]":
    """For ranks whose Horovod is initialised. `bucket_bytes` of gradients travel together; None: the
    default."""
    from deepseek_workloads.train.horovod_group import BUCKET_BYTES, HorovodGroup

    return partial(
        HorovodGroup,
        compression=run.training.horovod.compression if run.training.horovod else "none",
        bucket_bytes=bucket_bytes or BUCKET_BYTES,
    )


def _failure_of(error: Exception, *, rank: int) -> Failure:
    from horovod.common.exceptions import HorovodInternalError

    from deepseek_workloads.launch.failures import MAX_MESSAGE, failure_of

    if isinstance(error, HorovodInternalError):  # a collective broke: of a lost, frozen or stalled peer
        return Failure(
            kind="try-again",
            reason=reasons.PEER_LOST,
            message=f"rank {rank}: {error}"[:MAX_MESSAGE],
            exit_code=ExitCode.TRY_AGAIN,
            rank=rank,
        )
    return failure_of(error, rank=rank)


def _write(path: Path, ending: Ending) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(ending.to_json())
    os.replace(unfinished, path)  # noqa: PTH105 - the atomic one


def _parse(argv: Sequence[str]) -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m deepseek_workloads.launch.horovod_rank")
    parser.add_argument("--run-config", type=Path, required=True)
    parser.add_argument("--ending-file", type=Path, required=True)
    parser.add_argument("--term", required=True)
    parsed = parser.parse_args(argv)
    term = [int(part) for part in parsed.term.split(",")]
    return Arguments(parsed.run_config.read_text(), parsed.ending_file, term)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
