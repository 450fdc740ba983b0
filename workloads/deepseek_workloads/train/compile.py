"""Layers as kernels that torch.compile makes of them (spec.training.compile), each layer by itself.

Layers of one kind share their kernels, so that a model of 61 layers is compiled as fast as one of three. Only
`forward` is wrapped, inside the hooks of shards and around recomputation: names of parameters stay, and so do
checkpoints. Passes without gradients run as they are.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from deepseek_workloads.contract.environment import SCRATCH_DIR
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.model.block import DecoderLayer, MixtureOfExperts
from deepseek_workloads.plan.compile_rules import COMPILE_FIELD, is_compiled
from deepseek_workloads.train.refused import SettingRefused

_MOST_COMPILERS: Final = 4  # processes of a rank that compile beside each other; each has torch in memory
# Kinds of layers (dense, mixtures, those that look further) times kinds of shapes (one length, then any).
_MOST_VARIANTS: Final = 32
_COMPILERS: Final = {"cuda": ("CC", ("gcc", "clang")), "cpu": ("CXX", ("g++",))}
Backend = str | Callable[..., Any]  # of torch.compile


def whether_compiled(run: TrainingRun, device: torch.device) -> tuple[bool, str | None]:
    """And what to warn of where `auto` goes without. Raises SettingRefused where `always` cannot."""
    if not is_compiled(run, gpu=device.type == "cuda"):
        return False, None
    missing = missing_compiler(device)
    if missing is None:
        return True, None
    found = f"{COMPILE_FIELD}: {run.training.compile}: the image has no {missing}"
    if run.training.compile == "always":
        raise SettingRefused(f"{found}: use an image with it, such as the project's worker image, or never")
    return False, f"{found}: layers are not compiled: use an image with it, or set never"


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile needs on such a device and the image lacks; None: nothing."""
    if device.type == "cuda" and find_spec("triton") is None:
        return "package triton"
    variable, programs = _COMPILERS["cuda" if device.type == "cuda" else "cpu"]
    named = os.environ.get(variable)
    wanted = (named,) if named else programs
    if not any(shutil.which(program) for program in wanted):
        return f"compiler {' or '.join(wanted)}"
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if headers.exists() else f"{headers}"


def configure_compiler(run: TrainingRun) -> None:
    """Of this process, before the first pass."""
    import torch._dynamo.config  # a second's import, which only runs that compile pay for
    import torch._inductor.config

    # The root file system is read-only, and a user without a name has no home.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{SCRATCH_DIR}/torchinductor")
    processors = run.workers.cpus_per_node / run.workers.num_proc_per_node
    torch._inductor.config.compile_threads = max(1, min(_MOST_COMPILERS, int(processors)))
    torch._inductor.config.deterministic = run.training.deterministic
    torch._dynamo.config.recompile_limit = _MOST_VARIANTS
    # Unless it must, what the compiler cannot do runs as it is, and torch's log says so.
    torch._dynamo.config.suppress_errors = run.training.compile == "auto"


def compile_layers(
    layers: Iterable[DecoderLayer], *, shared_experts: bool, backend: Backend = "inductor"
) -> None:
    """In place. `shared_experts`: tokens travel between ranks, in the middle of a layer; the parts before and
    beside that are compiled, the exchange and what follows are not."""
    for layer in layers:
        for region in _parts(layer) if shared_experts else (layer,):
            region.forward = _compiled(region.forward, backend)


def _parts(layer: DecoderLayer) -> Iterator[nn.Module]:
    if not isinstance(layer.mlp, MixtureOfExperts):
        yield layer
        return
    yield from (layer.self_attn, layer.mlp.gate)
    if layer.mlp.shared_experts is not None:
        yield layer.mlp.shared_experts


def _compiled(forward: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    compiled = torch.compile(forward, backend=backend)

    def call(*arguments: Any, **keywords: Any) -> Any:
        chosen = compiled if torch.is_grad_enabled() else forward
        return chosen(*arguments, **keywords)

    return call
