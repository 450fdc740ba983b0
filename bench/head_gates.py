"""What closed heads save: attention to a prompt behind gates, at several shares of open ones, beside the same
layer without gates.

One JSON line for each share: milliseconds of ours and of the plain layer, interleaved, one thread.
"""

import time
from collections.abc import Callable

import torch
from report import Point, emit
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import HeadGate
from deepseek_workloads.model.attention import MultiHeadLatentAttention
from deepseek_workloads.model.gated_latent import GatedLatentAttention
from deepseek_workloads.model.rope import rotations
from deepseek_workloads.plan.presets import PRESETS

_PAIRS, _LENGTH, _PRESET = 5, 2048, "deepseek-v3-128m"
_SHARES = (1.0, 0.5, 0.25, 0.0)


@torch.inference_mode()
def main() -> None:
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
            (_milliseconds(lambda: gated(hidden, rotation)), _milliseconds(lambda: plain(hidden, rotation)))
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


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
