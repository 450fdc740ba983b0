"""`make bench-train`: tokens a second of training on one thread, against Hugging Face's DeepseekV3.

The same weights, tokens, dtype, optimizer and clipping on both sides, in turns, after the peer's fastest
setting was found by trying. The first line of each point holds our step against the time of its products at
the machine's measured peak. Memory is of processes of their own (`peak_memory`).
"""

import argparse
from dataclasses import dataclass

import torch
from clocks import CLOCK_HELP, CLOCKS, Clock
from peak_memory import measure as measure_memory
from report import Point, emit, say
from roofline import good_dtypes
from training_step import DTYPES, MODELS, PEER_SETTINGS, PeerSetting, Step, batch, our_step, peer_step

from deepseek_workloads.plan.estimate import flops_per_token

RUNS = 5
LENGTHS = (512, 2048)
TOKENS = 2048  # of a step
FASTER, OF_PEAK, LESS_MEMORY = 2.0, 0.7, 1 / 0.6  # the goals
_TRIAL_TOKENS = 128
_HOPELESS = 3.0  # times the fastest in a short trial: not tried at full size


@dataclass(frozen=True)
class Case:
    model: str
    length: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.model}-{self.length}-{self.dtype}"


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    peaks = good_dtypes()
    for dtype, peak in peaks.items():
        say(f"{dtype}: {peak / 1e9:.0f} GFLOP/s")
    chosen = arguments.points.split(",") if arguments.points else None
    for model in MODELS:
        for length in LENGTHS:
            for dtype, peak in peaks.items():
                case = Case(model, length, dtype)
                if chosen is None or str(case) in chosen:
                    measure(case, peak=peak, runs=arguments.runs, clock=CLOCKS[arguments.clock])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--points", help="of all, such as 8M-512-fp32,60M-2048-bf16")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    return parser.parse_args()


def measure(case: Case, *, peak: float, runs: int, clock: Clock) -> None:
    architecture, dtype = MODELS[case.model], DTYPES[case.dtype]
    ids = batch(architecture, sequences=TOKENS // case.length, length=case.length)
    setting = best_setting(case, ids, clock)
    ours, theirs = our_step(architecture, dtype), peer_step(architecture, dtype, setting)
    rates: list[tuple[float, float]] = []
    for number in range(runs + 1):
        pair = tokens_a_second(ours, ids, clock), tokens_a_second(theirs, ids, clock)
        say(f"{case} {number}: {pair[0]:.0f} tokens/s, {setting} {pair[1]:.0f}")
        if number:  # the first pair warms up
            rates.append(pair)
    our_rates, their_rates = ([pair[side] for pair in rates] for side in (0, 1))
    roof = peak / flops_per_token(architecture, sequence_length=case.length)
    emit(
        Point(
            "train",
            f"{case}-roofline",
            our_rates,
            unit="tokens/s",
            goal=OF_PEAK,
            peer="its products at the machine's peak",
            peer_values=[roof] * runs,
            higher_is_better=True,
        )
    )
    emit(
        Point(
            "train",
            str(case),
            our_rates,
            unit="tokens/s",
            goal=FASTER,
            peer=str(setting),
            peer_values=their_rates,
            higher_is_better=True,
        )
    )
    sequences = TOKENS // case.length
    memory = [
        measure_memory(case.model, case.length, case.dtype, sequences, side) / 2**20
        for side in (None, setting)
    ]
    emit(
        Point(
            "train",
            f"{case}-memory",
            memory[:1],
            unit="MiB",
            goal=round(LESS_MEMORY, 2),
            peer=str(setting),
            peer_values=memory[1:],
        )
    )


def best_setting(case: Case, ids: torch.Tensor, clock: Clock) -> PeerSetting:
    """A short trial drops what is far behind; the rest is tried at full size."""
    short = ids[:1, : _TRIAL_TOKENS + 1]
    trials = {setting: _rate(case, setting, short, clock) for setting in PEER_SETTINGS}
    hopeful = [setting for setting in trials if trials[setting] * _HOPELESS > max(trials.values())]
    rates = {setting: _rate(case, setting, ids, clock) for setting in hopeful}
    for setting, rate in rates.items():
        say(f"{case}: {setting}: {rate:.0f} tokens/s")
    return max(rates, key=rates.__getitem__)


def _rate(case: Case, setting: PeerSetting, ids: torch.Tensor, clock: Clock) -> float:
    step = peer_step(MODELS[case.model], DTYPES[case.dtype], setting)
    step(ids)
    return tokens_a_second(step, ids, clock)


def tokens_a_second(step: Step, ids: torch.Tensor, clock: Clock) -> float:
    begun = clock()
    step(ids)
    return ids.shape[0] * (ids.shape[1] - 1) / (clock() - begun)


if __name__ == "__main__":
    main()
