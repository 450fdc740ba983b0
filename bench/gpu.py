"""`make bench-gpu`: a model of the 1B class on one GPU: tokens a second and MFU, against Hugging Face's.

As `train`, in bfloat16 (float32 weights under autocast on both sides), with the peer's fastest setting found
by trying; then rows of several documents that attention keeps apart, and precision fp8, both beside
our own bfloat16. MFU is the step's floating-point operations over those
of the fastest square product measured here.
Without a GPU it says so and exits with 3.
"""

import argparse
import sys
import time

import torch
from report import Point, emit, say
from roofline import peak_flops, synchronize
from training_step import PEER_SETTINGS, SEED, PeerSetting, Step, batch, our_step, peer_step

from deepseek_workloads.model.float8 import has_float8
from deepseek_workloads.plan.estimate import flops_per_token
from deepseek_workloads.plan.presets import PRESETS

RUNS, WARM_UP = 5, 2
STEPS = 5  # of a run: what starts and ends it is small beside them
SEQUENCES, LENGTH = 8, 2048
EDGE = 8192
DOCUMENT = 512  # tokens, on the mean
FASTER, MFU, LESS_MEMORY, FP8_FASTER, AS_FAST = 2.0, 0.4, 0.6, 1.2, 1.0
NO_GPU = 3
DEVICE = "cuda"

ONE_BILLION = PRESETS["deepseek-v3-1b"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    if not torch.cuda.is_available():
        say("bench-gpu: torch sees no CUDA device here: run it on a machine with an NVIDIA GPU and driver")
        sys.exit(NO_GPU)
    peak = peak_flops(torch.bfloat16, device=DEVICE, edge=EDGE)
    say(f"{torch.cuda.get_device_name()}: {peak / 1e12:.0f} TFLOP/s in bf16")
    ids = batch(ONE_BILLION, sequences=SEQUENCES, length=LENGTH, device=DEVICE)
    rates = {setting: _peer_rate(setting, ids) for setting in PEER_SETTINGS}
    setting = max(rates, key=rates.__getitem__)
    ours, our_memory = _measured(our_step(ONE_BILLION, torch.bfloat16, device=DEVICE), ids, runs)
    theirs, their_memory = _measured(
        peer_step(ONE_BILLION, torch.bfloat16, setting, device=DEVICE), ids, runs
    )
    roof = peak / flops_per_token(ONE_BILLION, sequence_length=LENGTH)
    name, rate = f"1B-{LENGTH}-bf16", "tokens/s"
    emit(Point("gpu", name, ours, rate, FASTER, str(setting), theirs, higher_is_better=True))
    emit(Point("gpu", f"{name}-mfu", ours, rate, MFU, "peak", [roof] * runs, higher_is_better=True))
    memory = [our_memory / 2**20], [their_memory / 2**20]
    emit(Point("gpu", f"{name}-memory", memory[0], "MiB", 1 / LESS_MEMORY, str(setting), memory[1]))
    apart, memory_apart = _measured(
        our_step(ONE_BILLION, torch.bfloat16, device=DEVICE, documents=_documents()), ids, runs
    )
    emit(Point("gpu", f"{name}-documents", apart, rate, AS_FAST, "whole rows", ours, higher_is_better=True))
    memory = [memory_apart / 2**20], [our_memory / 2**20]
    emit(Point("gpu", f"{name}-documents-memory", memory[0], "MiB", AS_FAST, "whole rows", memory[1]))
    if not has_float8(torch.device(DEVICE)):
        say("this GPU has no float8 products with scales for rows: no fp8 point")
        return
    rounded, _ = _measured(our_step(ONE_BILLION, torch.bfloat16, device=DEVICE, float8=True), ids, runs)
    emit(Point("gpu", f"1B-{LENGTH}-fp8", rounded, rate, FP8_FASTER, "bf16", ours, higher_is_better=True))


def _documents() -> torch.Tensor:
    """int64 [SEQUENCES, LENGTH], of random sizes as running text has them; the first row has one alone."""
    begins = torch.rand(SEQUENCES, LENGTH, generator=torch.Generator().manual_seed(SEED)) < 1 / DOCUMENT
    begins[0] = False
    return begins.long().cumsum(1)


def _peer_rate(setting: PeerSetting, ids: torch.Tensor) -> float:
    """0 for one that does not fit or that this GPU lacks."""
    try:
        step = peer_step(ONE_BILLION, torch.bfloat16, setting, device=DEVICE)
        step(ids)
        rate = _rate(step, ids, steps=1)
    except (torch.cuda.OutOfMemoryError, RuntimeError) as error:
        say(f"{setting}: {type(error).__name__}: {str(error).splitlines()[0]}")
        rate = 0.0
    torch.cuda.empty_cache()
    say(f"{setting}: {rate:.0f} tokens/s")
    return rate


def _measured(step: Step, ids: torch.Tensor, runs: int) -> tuple[list[float], int]:
    """Tokens a second of each run, and the most bytes allocated."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP):
        step(ids)
    return [_rate(step, ids, steps=STEPS) for _ in range(runs)], torch.cuda.max_memory_allocated()


def _rate(step: Step, ids: torch.Tensor, *, steps: int) -> float:
    synchronize(DEVICE)
    begun = time.perf_counter()
    for _ in range(steps):
        step(ids)
    synchronize(DEVICE)
    return steps * ids.shape[0] * (ids.shape[1] - 1) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
