"""`make bench-memory`: the peak memory of training, in all, a parameter and a token, against the plan's.

Each measurement is a process of its own (`peak_memory`), beyond what it holds with its libraries loaded. A
ratio is plan / measured: the goal is 1, within a tenth.
"""

import argparse

import torch
from peak_memory import measure
from report import Point, emit, say
from roofline import good_dtypes
from training_step import MODELS

from deepseek_workloads.plan.estimate import parameters
from deepseek_workloads.plan.layout import Layout
from deepseek_workloads.plan.memory import MemoryEstimate, estimate_memory

LENGTH = 512
SEQUENCES = (2, 8)  # of a step: the difference is what tokens need
GOAL = 1.0
PEER = "the plan"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=1)
    runs = arguments.parse_args().runs
    torch.set_num_threads(1)
    for model in MODELS:
        for dtype in good_dtypes():
            report(model, dtype, runs=runs)


def report(model: str, dtype: str, *, runs: int) -> None:
    measured = {
        sequences: [float(measure(model, LENGTH, dtype, sequences)) for _ in range(runs)]
        for sequences in SEQUENCES
    }
    planned = {sequences: plan(model, dtype, sequences) for sequences in SEQUENCES}
    for sequences in SEQUENCES:
        say(f"{model}-{dtype}, {sequences} x {LENGTH} tokens: {planned[sequences]}")
        point(
            f"{model}-{dtype}-{sequences}x{LENGTH}",
            "MiB",
            measured[sequences],
            planned[sequences].total,
            2**20,
        )
    few, many = SEQUENCES
    tokens = LENGTH * (many - few)
    point(
        f"{model}-{dtype}-token",
        "bytes/token",
        [more - less for less, more in zip(measured[few], measured[many], strict=True)],
        planned[many].total - planned[few].total,
        tokens,
    )
    # What is left when the tokens are gone: weights, gradients, moments, the head's gradient and a chunk.
    rest = planned[few].total - (planned[many].total - planned[few].total) * few / (many - few)
    point(
        f"{model}-{dtype}-parameter",
        "bytes/parameter",
        [
            less - (more - less) * few / (many - few)
            for less, more in zip(measured[few], measured[many], strict=True)
        ],
        rest,
        parameters(MODELS[model]),
    )


def plan(model: str, dtype: str, sequences: int) -> MemoryEstimate:
    return estimate_memory(
        MODELS[model],
        zero_stage=0,
        layout=Layout(sharded=False),
        precision=dtype,
        micro_batch_size=sequences,
        sequence_length=LENGTH,
        gradients_stay=False,
    )


def point(name: str, unit: str, measured: list[float], planned: float, divisor: float) -> None:
    values = [value / divisor for value in measured]
    emit(Point("memory", name, values, unit, GOAL, PEER, [planned / divisor] * len(values)))


if __name__ == "__main__":
    main()
