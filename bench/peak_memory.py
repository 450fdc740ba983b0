"""The peak memory of a few training steps, measured in a process of its own.

Run as a program: argument JSON [model, length, dtype, sequences], for Hugging Face's also its attention and
experts; output JSON, bytes beyond what the process holds once its libraries are loaded and warm. torchtitan's
process is measured from here.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from process_status import status_bytes
from torchtitan_peer import Torchtitan, TorchtitanSetting
from training_step import DTYPES, MODELS, PeerSetting, batch, our_step, peer_step

from deepseek_workloads.contract.architecture import Architecture

_STEPS = 3
_WARM_LENGTH = 64


def measure(model: str, length: int, dtype: str, sequences: int, peer: PeerSetting | None = None) -> int:
    """Bytes, of a new process. Raises CalledProcessError, its output on standard error."""
    setting = (peer.attention, peer.experts) if peer else ()
    request = json.dumps([model, length, dtype, sequences, *setting])
    done = subprocess.run([sys.executable, __file__, request], stdout=subprocess.PIPE, check=True, text=True)
    return int(json.loads(done.stdout)["peak"])


def measure_torchtitan(
    python: Path, model: str, length: int, dtype: str, sequences: int, setting: TorchtitanSetting
) -> int:
    """Bytes, of a new process of the environment whose interpreter is `python`."""
    with Torchtitan(python) as peer:
        small = _smaller(MODELS[model])
        peer.load(small, DTYPES[dtype], setting, batch(small, sequences=1, length=_WARM_LENGTH))
        peer.step()
        before = _from_now(peer.pid)
        ids = batch(MODELS[model], sequences=sequences, length=length)
        peer.load(MODELS[model], DTYPES[dtype], setting, ids)
        for _ in range(_STEPS):
            peer.step()
        return status_bytes("VmHWM", peer.pid) - before


def main() -> None:
    model, length, dtype, sequences, *setting = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    peer = PeerSetting(*setting) if setting else None
    _run(_smaller(MODELS[model]), _WARM_LENGTH, dtype, sequences=1, steps=1, peer=peer)
    before = _from_now("self")
    _run(MODELS[model], length, dtype, sequences=sequences, steps=_STEPS, peer=peer)
    sys.stdout.write(json.dumps({"peak": status_bytes("VmHWM") - before, "before": before}) + "\n")


def _run(
    architecture: Architecture,
    length: int,
    dtype: str,
    *,
    sequences: int,
    steps: int,
    peer: PeerSetting | None,
) -> None:
    ids = batch(architecture, sequences=sequences, length=length)
    step = peer_step(architecture, DTYPES[dtype], peer) if peer else our_step(architecture, DTYPES[dtype])
    for _ in range(steps):
        step(ids)


def _smaller(architecture: Architecture) -> Architecture:
    """Its steps load kernels and libraries without leaving the allocator much to keep."""
    return architecture.model_copy(update={"vocab_size": 64, "num_hidden_layers": 2})


def _from_now(process: int | str) -> int:
    """Bytes that the process holds; its peak starts anew."""
    held = status_bytes("VmRSS", process)
    Path(f"/proc/{process}/clear_refs").write_text("5")
    return held


if __name__ == "__main__":
    main()
