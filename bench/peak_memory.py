"""The peak memory of a few training steps, measured in a process of its own.

Run as a program: argument JSON [model, length, dtype, sequences], for the peer also its attention and
experts; output JSON, bytes beyond what the process holds once its libraries are loaded and warm.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from process_status import status_bytes
from training_step import DTYPES, MODELS, PeerSetting, batch, our_step, peer_step

_STEPS = 3


def measure(model: str, length: int, dtype: str, sequences: int, peer: PeerSetting | None = None) -> int:
    """Bytes, of a new process. Raises CalledProcessError, its output on standard error."""
    setting = (peer.attention, peer.experts) if peer else ()
    request = json.dumps([model, length, dtype, sequences, *setting])
    done = subprocess.run([sys.executable, __file__, request], stdout=subprocess.PIPE, check=True, text=True)
    return int(json.loads(done.stdout)["peak"])


def main() -> None:
    model, length, dtype, sequences, *setting = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    peer = PeerSetting(*setting) if setting else None
    _run(model, 64, dtype, sequences=1, steps=1, peer=peer, smaller=True)
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    _run(model, length, dtype, sequences=sequences, steps=_STEPS, peer=peer)
    sys.stdout.write(json.dumps({"peak": status_bytes("VmHWM") - before, "before": before}) + "\n")


def _run(
    model: str,
    length: int,
    dtype: str,
    *,
    sequences: int,
    steps: int,
    peer: PeerSetting | None,
    smaller: bool = False,
) -> None:
    architecture = MODELS[model]
    if smaller:  # loads kernels and libraries without leaving the allocator much to keep
        architecture = architecture.model_copy(update={"vocab_size": 64, "num_hidden_layers": 2})
    ids = batch(architecture, sequences=sequences, length=length)
    step = peer_step(architecture, DTYPES[dtype], peer) if peer else our_step(architecture, DTYPES[dtype])
    for _ in range(steps):
        step(ids)


if __name__ == "__main__":
    main()
