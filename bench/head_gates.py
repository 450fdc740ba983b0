"""`make bench-head-gates`: what closed heads save in attention to a prompt, by the share of open ones.

One JSON line for each share: milliseconds of the layer with gates and of the same one without, in turns, on
one thread.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from clocks import CLOCK_HELP, CLOCKS, Clock
from report import Point, emit
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import HeadGate
from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.gated_latent import GatedLatentAttention
from deepseek_workloads.model.rope import rotations
from deepseek_workloads.plan.presets import PRESETS

_PAIRS, _LENGTH, _PRESET = 5, 2048, "deepseek-v3-128m"
_SHARES = (1.0, 0.5, 0.25, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    measure(CLOCKS[parser.parse_args().clock])


@torch.inference_mode()
def measure(clock: Clock) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    plain_architecture = PRESETS[_PRESET]
    attention = plain_architecture.attention.model_copy(update={"head_gate": HeadGate()})
    gated = GatedLatentAttention(plain_architecture.model_copy(update={"attention": attention})).eval()
    plain = MultiHeadLatentAttention(plain_architecture).eval()
    hidden = torch.randn(1, _LENGTH, plain_architecture.hidden_size)
    rotation = rotations(
        plain_architecture, start=0, length=_LENGTH, dtype=hidden.dtype, device=hidden.device
    )
    nn.init.normal_(gated.head_gate.weight)
    logits = nn.functional.linear(hidden, gated.head_gate.weight)
    for share in _SHARES:
        gated.head_gate.bias.copy_(_bias(logits, share) - 2.0)  # what the gates add themselves
        runs = [
            [_milliseconds(partial(layer, hidden, rotation), clock) for layer in (gated, plain)]
            for _ in range(_PAIRS + 1)
        ]
        ours, peer = zip(*runs[1:], strict=True)
        name = f"{_PRESET}-{_LENGTH}-{share:.0%}-open"
        emit(Point("head-gates", name, ours, "ms", peer="without gates", peer_values=peer))


def _bias(logits: Tensor, share: float) -> Tensor:
    """[A]: so that this share of tokens opens each head."""
    if share in (0.0, 1.0):
        return torch.full((logits.shape[-1],), 1e4 if share else -1e4)
    return -logits[0].quantile(1 - share, dim=0)


def _milliseconds(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return (clock() - start) * 1000


if __name__ == "__main__":
    main()
