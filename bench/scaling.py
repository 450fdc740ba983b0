"""`make bench-scaling`: tokens a second of two processes with a core each, over twice those of one alone.

Each has the same number of sequences a step whatever their number, on gloo over the loopback: replicas (DDP)
and shards (FSDP2, zeroStage 2). One process trains while the other waits, then both, in turns.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from report import Point, emit, say
from training_step import CLIP_NORM, MODELS, SEED, batch

from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.contract.run_config import Parallelism
from deepseek_workloads.train.group import Group, LocalGroup, TorchGroup
from deepseek_workloads.train.optimizers.build import build_optimizer
from deepseek_workloads.train.parallelise import parallelise

RUNS, STEPS = 5, 3
RANKS = 2
SEQUENCES, LENGTH = 4, 512
PRECISION = "fp32"


@dataclass(frozen=True)
class Layout:
    name: str
    zero_stage: Literal[0, 2]
    goal: float  # of perfect


LAYOUTS = (Layout("ddp", 0, 0.95), Layout("fsdp2", 2, 0.9))


class Training:
    """One rank's share of a model in training."""

    def __init__(self, model: str, layout: Layout, group: Group) -> None:
        architecture = MODELS[model]
        parallelism = Parallelism(zero_stage=layout.zero_stage)
        self._model = parallelise(architecture, parallelism, precision=PRECISION, group=group)
        self._model.plain.init_weights(SEED)
        self._parameters = list(self._model.plain.parameters())
        self._optimizer = build_optimizer(self._model.plain, Optimizer())
        self._ids = batch(architecture, sequences=SEQUENCES, length=LENGTH)
        self._step()

    def rate(self) -> float:
        """Tokens a second of this rank."""
        begun = time.perf_counter()
        for _ in range(STEPS):
            self._step()
        return STEPS * SEQUENCES * LENGTH / (time.perf_counter() - begun)

    def _step(self) -> None:
        with self._model.one_pass(last=True):
            self._model.module(self._ids[:, :-1], self._ids[:, 1:]).loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM, foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--models", default=",".join(MODELS))
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < RANKS:
        parser.error(f"this process may use one core only: {RANKS} are needed, one for each rank")
    for model in arguments.models.split(","):
        for layout in LAYOUTS:
            alone, together = rates(model, layout, runs=arguments.runs)
            emit(
                Point(
                    "scaling",
                    f"{model}-{LENGTH}-{PRECISION}-{layout.name}-{RANKS}",
                    together,
                    unit="tokens/s",
                    goal=layout.goal,
                    peer=f"{RANKS} x one process",
                    peer_values=[RANKS * rate for rate in alone],
                    higher_is_better=True,
                )
            )


def rates(model: str, layout: Layout, *, runs: int) -> tuple[list[float], list[float]]:
    """Tokens a second of one process alone, and of all together; each run's."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            spawn.Process(target=_rank, args=(rank, folder, model, layout, runs, sender), daemon=True)
            for rank in range(RANKS)
        ]
        for process in ranks:
            process.start()
        sender.close()  # so that the end of the ranks is the end of the pipe
        pairs: list[tuple[float, float]] = []
        for number in range(runs):
            pairs.append(receiver.recv())
            say(
                f"{model}, {layout.name}, {number + 1}: {pairs[-1][0]:.0f} alone, {pairs[-1][1]:.0f} together"
            )
        for process in ranks:
            process.join()
    return [alone for alone, _ in pairs], [together for _, together in pairs]


def _rank(rank: int, folder: str, model: str, layout: Layout, runs: int, results: Connection) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    rendezvous = f"file://{Path(folder) / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS)
    cpu = torch.device("cpu")
    shared = Training(model, layout, TorchGroup(rank, RANKS, cpu))
    alone = Training(model, layout, LocalGroup(0, 1, cpu)) if rank == 0 else None
    for _ in range(runs):
        own = alone.rate() if alone else 0.0
        dist.barrier()
        together = torch.tensor(shared.rate())
        dist.all_reduce(together)
        if rank == 0:
            results.send((own, together.item()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
