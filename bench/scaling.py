"""`make bench-scaling`: tokens a second of two processes with a core each, over twice those of one alone.

Each has the same number of sequences a step whatever their number, on gloo over the loopback: replicas (DDP),
shards (FSDP2, zeroStage 2), and shards whose experts the two share (tokens travel while the experts that all
pass are computed). One process trains while the other waits, then both, in turns. Before them two that know
nothing of each other: what they lose to memory and caches that cores share is no layout's doing.

The first lines are what the machine can do: products on a core, and bytes between the two processes.
`step_time.py --scaling` holds the plan's model of step time against all of them.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from report import Point, emit, say
from roofline import peak_flops
from scaling_points import ALONE, CORE, LINK
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
    goal: float | None  # of perfect
    experts: int = 1  # processes that share them
    joined: bool = True  # False: each trains a model of its own

    def parallelism(self, ranks: int) -> Parallelism:
        return Parallelism(
            zero_stage=self.zero_stage, expert_parallel_degree=self.experts if ranks > 1 else 1
        )


LAYOUTS = (
    Layout("unjoined", 0, None, joined=False),
    Layout("ddp", 0, 0.95),
    Layout("fsdp2", 2, 0.9),
    Layout("ep", 2, None, experts=RANKS),
)
LINK_BYTES, LINK_RUNS = 2**24, 10  # that a process sends the other at a time


class Training:
    """One rank's share of a model in training."""

    def __init__(self, model: str, layout: Layout, group: Group) -> None:
        architecture = MODELS[model]
        parallelism = layout.parallelism(group.world_size)
        self._group = group
        self._model = parallelise(architecture, parallelism, precision=PRECISION, group=group)
        self._model.plain.init_weights(SEED)
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
        norm = self._model.gradient_norm(self._group)
        self._model.clip_gradients(norm, clip_norm=CLIP_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--layouts", default=",".join(layout.name for layout in LAYOUTS))
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < RANKS:
        parser.error(f"this process may use one core only: {RANKS} are needed, one for each rank")
    core, link = ranks_results(_machine)
    emit(Point("scaling", CORE, [core / 1e9], "GFLOP/s"))
    emit(Point("scaling", LINK, [link / 1e9], "GB/s"))
    for model in arguments.models.split(","):
        chosen = [layout for layout in LAYOUTS if layout.name in arguments.layouts.split(",")]
        for number, layout in enumerate(chosen):
            alone, together = rates(model, layout, runs=arguments.runs)
            if number == 0:
                emit(Point("scaling", f"{model}-{LENGTH}-{PRECISION}-{ALONE}", alone, "tokens/s"))
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
    pairs: list[tuple[float, float]] = ranks_results(partial(_train, model=model, layout=layout, runs=runs))
    for number, (alone, together) in enumerate(pairs, start=1):
        say(f"{model}, {layout.name}, {number}: {alone:.0f} alone, {together:.0f} together")
    return [alone for alone, _ in pairs], [together for _, together in pairs]


def ranks_results(work: Callable[[int], Any]) -> Any:
    """What rank 0 returns of `work`, which each rank runs on a core of its own."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            spawn.Process(target=_rank, args=(rank, folder, work, sender), daemon=True)
            for rank in range(RANKS)
        ]
        for process in ranks:
            process.start()
        sender.close()  # so that the end of the ranks is the end of the pipe
        result = receiver.recv()
        for process in ranks:
            process.join()
    return result


def _rank(rank: int, folder: str, work: Callable[[int], Any], results: Connection) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    rendezvous = f"file://{Path(folder) / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS)
    result = work(rank)
    if rank == 0:
        results.send(result)
    dist.destroy_process_group()


def _machine(rank: int) -> tuple[float, float]:
    """Operations a second of a core while the other waits; bytes a second of an exchange, of each way."""
    core = peak_flops(torch.float32) if rank == 0 else 0.0
    dist.barrier()
    sent, received = (torch.zeros(RANKS * LINK_BYTES // 4) for _ in range(2))
    times = []
    for _ in range(LINK_RUNS):
        begun = time.perf_counter()
        dist.all_to_all_single(received, sent)
        times.append(time.perf_counter() - begun)
    return core, LINK_BYTES / min(times)


def _train(rank: int, *, model: str, layout: Layout, runs: int) -> list[tuple[float, float]]:
    cpu = torch.device("cpu")
    own_group = LocalGroup(0, 1, cpu)
    shared = Training(model, layout, TorchGroup(rank, RANKS, cpu) if layout.joined else own_group)
    alone = Training(model, layout, own_group) if rank == 0 else None
    pairs = []
    for _ in range(runs):
        own = alone.rate() if alone else 0.0
        dist.barrier()
        together = torch.tensor(shared.rate())
        dist.all_reduce(together)
        pairs.append((own, together.item()))
    return pairs


if __name__ == "__main__":
    main()
