"""`make bench-attention`: from which length on the kinds that see less are cheaper than dense attention.

One layer of attention with its projections, forward and backward over one sequence, on one thread: the time
of each kind in turn, and its peak memory in a process of its own, against `gqa`, which sees all. Tokens are
random: text whose keys fall into few buckets makes `lsh` dearer, up to its budget.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from clocks import CLOCK_HELP, CLOCKS, Clock
from process_status import status_bytes
from report import Point, emit, say

from deepseek_workloads.contract.architecture import Architecture, Attention
from deepseek_workloads.model.block import ATTENTION
from deepseek_workloads.model.rope import rotations

RUNS = 5
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
WINDOW = 512
DENSE = "gqa"
_SEED = 17
_TOKENS = 4096  # of a run, at least: a short pass alone is shorter than what disturbs it
_MAIN = "import json, sys; from attention import peak; print(json.dumps(peak(sys.argv[1], int(sys.argv[2]))))"

# Four heads of 64 features. Those of `mla` have half as many more for positions, as in DeepSeek-V3.
_BASE = Architecture(
    vocab_size=64,
    hidden_size=256,
    intermediate_size=256,
    num_hidden_layers=1,
    num_attention_heads=4,
    q_lora_rank=None,
    kv_lora_rank=128,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    max_position_embeddings=max(LENGTHS),
)


def _seeing(attention: Attention) -> Architecture:
    return _BASE.model_copy(update={"attention": attention})


KINDS: Mapping[str, Architecture] = MappingProxyType(
    {
        DENSE: _seeing(Attention(kind="gqa")),
        "mla": _BASE,
        "slidingWindow": _seeing(Attention(kind="slidingWindow", sliding_window=WINDOW)),
        "lsh": _seeing(Attention(kind="lsh")),
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for length in arguments.lengths:
        milliseconds = times(length, runs=arguments.runs, clock=CLOCKS[arguments.clock])
        memory = {kind: _peak_alone(kind, length) / 2**20 for kind in KINDS}
        for kind in KINDS:
            _report(kind, length, "ms", milliseconds[kind], milliseconds[DENSE])
            _report(kind, length, "MiB", [memory[kind]], [memory[DENSE]])


def times(length: int, *, runs: int, clock: Clock) -> dict[str, list[float]]:
    """Milliseconds of a pass, by kind; a run measures each kind, one after another."""
    passes = {kind: a_pass(architecture, length) for kind, architecture in KINDS.items()}
    repeats = max(1, _TOKENS // length)
    measured: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(runs + 1):
        for kind, run in passes.items():
            begun = clock()
            for _ in range(repeats):
                run()
            if number:  # the first warms up
                measured[kind].append((clock() - begun) * 1e3 / repeats)
        say(f"{length} tokens: {number} of {runs} runs")
    return measured


def a_pass(architecture: Architecture, length: int) -> Callable[[], None]:
    """Forward and backward of one layer of attention over a sequence of `length`."""
    torch.manual_seed(_SEED)
    layer = ATTENTION[architecture.attention.kind](architecture).train()
    hidden = torch.randn(1, length, architecture.hidden_size, requires_grad=True)
    upstream = torch.randn(1, length, architecture.hidden_size)
    rotation = rotations(architecture, start=0, length=length, dtype=hidden.dtype, device=torch.device("cpu"))

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        hidden.grad = None
        layer(hidden, rotation).backward(upstream)

    return run


def peak(kind: str, length: int) -> int:
    """Bytes that a pass takes beyond what the process holds once it has made a short one."""
    torch.set_num_threads(1)
    a_pass(KINDS[kind], 64)()
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    a_pass(KINDS[kind], length)()
    return status_bytes("VmHWM") - before


def _peak_alone(kind: str, length: int) -> int:
    """In a new process. Raises CalledProcessError, its output on standard error."""
    command = [sys.executable, "-c", _MAIN, kind, str(length)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return int(json.loads(done.stdout))


def _report(kind: str, length: int, unit: str, values: Sequence[float], of_dense: Sequence[float]) -> None:
    peer = None if kind == DENSE else DENSE
    emit(Point("attention", f"{kind}-{length}-{unit}", values, unit, None, peer, of_dense if peer else ()))


if __name__ == "__main__":
    main()
