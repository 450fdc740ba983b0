"""`make bench-train`: tokens a second of training on one thread, against Hugging Face and torchtitan.

The same weights, tokens, dtype, optimizer and clipping on all sides, in turns, after each peer's fastest
setting was found by trying; losses that differ end it. torchtitan runs in a process of its own environment
(`torchtitan_peer`). The first line of each point holds our step against the time of its products at the
machine's measured peak. Memory is of processes of their own (`peak_memory`).
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from clocks import CLOCK_HELP, CLOCKS, Clock
from peak_memory import measure as measure_memory
from peak_memory import measure_torchtitan
from report import Point, emit, say
from roofline import good_dtypes
from same_loss import require_same_loss
from torchtitan_peer import TORCHTITAN_SETTINGS, Torchtitan, TorchtitanSetting
from training_step import DTYPES, MODELS, PEER_SETTINGS, PeerSetting, Step, batch, our_step, peer_step

from deepseek_workloads.plan.estimate import flops_per_token

RUNS = 5
WARM_UPS = 2  # whose losses are compared
LENGTHS = (512, 2048)
TOKENS = 2048  # of a step
FASTER, FASTER_THAN_TORCHTITAN, OF_PEAK, LESS_MEMORY = 2.0, 1.2, 0.7, 1 / 0.6  # the goals
_TRIAL_TOKENS = 128
_HOPELESS = 3.0  # times the fastest in a short trial: not tried at full size


@dataclass(frozen=True)
class Case:
    model: str
    length: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.model}-{self.length}-{self.dtype}"

    @property
    def sequences(self) -> int:
        return TOKENS // self.length

    def batch(self) -> torch.Tensor:
        return batch(MODELS[self.model], sequences=self.sequences, length=self.length)


@dataclass(frozen=True)
class Turn:
    tokens_a_second: float
    loss: float  # before the step's update


Side = Callable[[], Turn]


@dataclass(frozen=True)
class Bench:
    runs: int
    clock: str
    torchtitan: Path | None  # the interpreter of its environment

    def measure(self, case: Case, *, peak: float) -> None:
        ids, ours = case.batch(), our_step(MODELS[case.model], DTYPES[case.dtype])
        clock = CLOCKS[self.clock]
        setting = best_setting(case, ids, clock)
        theirs = peer_step(MODELS[case.model], DTYPES[case.dtype], setting)
        sides = {"ours": _side(ours, ids, clock), str(setting): _side(theirs, ids, clock)}
        if self.torchtitan is None:
            rates = in_turns(case, sides, runs=self.runs)
            titan = None
        else:
            with Torchtitan(self.torchtitan) as peer:
                titan = self._best_of_torchtitan(case, peer, ids)
                peer.load(MODELS[case.model], DTYPES[case.dtype], titan, ids)
                sides[str(titan)] = lambda: self._turn(peer)
                rates = in_turns(case, sides, runs=self.runs)
        roof = peak / flops_per_token(MODELS[case.model], sequence_length=case.length)
        roofs = [roof] * self.runs
        _emit_rates(f"{case}-roofline", rates["ours"], "its products at the machine's peak", roofs, OF_PEAK)
        _emit_rates(str(case), rates["ours"], str(setting), rates[str(setting)], FASTER)
        if titan is not None:
            goal = FASTER_THAN_TORCHTITAN
            _emit_rates(f"{case}-torchtitan", rates["ours"], str(titan), rates[str(titan)], goal)
        self._memory(case, setting, titan)

    def _best_of_torchtitan(self, case: Case, peer: Torchtitan, ids: torch.Tensor) -> TorchtitanSetting:
        rates = {}
        for setting in TORCHTITAN_SETTINGS:
            peer.load(MODELS[case.model], DTYPES[case.dtype], setting, ids)
            peer.step()
            rates[setting] = self._turn(peer).tokens_a_second
            say(f"{case}: {setting}: {rates[setting]:.0f} tokens/s")
        return max(rates, key=rates.__getitem__)

    def _turn(self, peer: Torchtitan) -> Turn:
        done = peer.step()
        return Turn(TOKENS / (done.wall if self.clock == "wall" else done.cpu), done.loss)

    def _memory(self, case: Case, setting: PeerSetting, titan: TorchtitanSetting | None) -> None:
        asked = case.model, case.length, case.dtype, case.sequences
        ours = measure_memory(*asked)
        _emit_memory(f"{case}-memory", ours, str(setting), measure_memory(*asked, setting))
        if titan is not None:
            assert self.torchtitan is not None
            theirs = measure_torchtitan(self.torchtitan, *asked, titan)
            _emit_memory(f"{case}-torchtitan-memory", ours, str(titan), theirs)


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    bench = Bench(arguments.runs, arguments.clock, arguments.torchtitan_python)
    if bench.torchtitan is None:
        say("not against torchtitan: no --torchtitan-python; `make bench-train` makes its environment")
    peaks = good_dtypes()
    for dtype, peak in peaks.items():
        say(f"{dtype}: {peak / 1e9:.0f} GFLOP/s")
    chosen = arguments.points.split(",") if arguments.points else None
    for model in MODELS:
        for length in LENGTHS:
            for dtype, peak in peaks.items():
                case = Case(model, length, dtype)
                if chosen is None or str(case) in chosen:
                    bench.measure(case, peak=peak)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--points", help="of all, such as 8M-512-fp32,60M-2048-bf16")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    parser.add_argument("--torchtitan-python", type=Path, help="the interpreter of bench/peers/train.txt")
    return parser.parse_args()


def in_turns(case: Case, sides: Mapping[str, Side], *, runs: int) -> Mapping[str, Sequence[float]]:
    """Tokens a second of each side, after the warm-ups. Raises ValueError where a peer's losses differ."""
    turns: dict[str, list[Turn]] = defaultdict(list)
    for number in range(WARM_UPS + runs):
        for name, run in sides.items():
            turns[name].append(run())
        if number + 1 == WARM_UPS:
            losses = {name: [turn.loss for turn in done] for name, done in turns.items()}
            for name in losses.keys() - {"ours"}:
                require_same_loss(losses["ours"], losses[name], dtype=case.dtype, peer=f"{case}, {name}")
        last = (f"{name} {done[-1].tokens_a_second:.0f}" for name, done in turns.items())
        say(f"{case} {number}: tokens/s: {', '.join(last)}")
    return {name: [turn.tokens_a_second for turn in done[WARM_UPS:]] for name, done in turns.items()}


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
    run = _side(peer_step(MODELS[case.model], DTYPES[case.dtype], setting), ids, clock)
    run()
    return run().tokens_a_second


def _side(step: Step, ids: torch.Tensor, clock: Clock) -> Side:
    def run() -> Turn:
        begun = clock()
        loss = step(ids)
        return Turn(ids.shape[0] * (ids.shape[1] - 1) / (clock() - begun), loss.item())

    return run


def _emit_rates(name: str, ours: Sequence[float], peer: str, theirs: Sequence[float], goal: float) -> None:
    emit(Point("train", name, ours, "tokens/s", goal, peer, theirs, higher_is_better=True))


def _emit_memory(name: str, ours: int, peer: str, theirs: int) -> None:
    """Of bytes."""
    emit(Point("train", name, [ours / 2**20], "MiB", round(LESS_MEMORY, 2), peer, [theirs / 2**20]))


if __name__ == "__main__":
    main()
