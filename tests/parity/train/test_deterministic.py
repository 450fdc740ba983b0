"""`training.deterministic`: equal runs have equal bits, by operations that torch allows then on GPUs, too."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_cases import ARCHITECTURE, final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.contract.monitoring import Monitoring
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.export.load import open_export
from deepseek_workloads.store.open import open_store

# What `torch.use_deterministic_algorithms` refuses on GPUs, apart from operations on images.
REFUSED = {"histc", "put_", "median", "nanmedian"}
REFUSED_IN_FLOATS = {"cumsum", "cumsum_"}


class Refusing(TorchDispatchMode):
    """Notes what a GPU would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.met: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, given = func.overloadpacket.__name__, kwargs or {}
        tensors = [value for value in (*args, *given.values()) if isinstance(value, torch.Tensor)]
        in_floats = name in REFUSED_IN_FLOATS and tensors[0].is_floating_point()
        weighted = name == "bincount" and len(tensors) > 1
        if name in REFUSED or in_floats or weighted:
            self.met.add(name)
        return func(*args, **given)


@pytest.fixture
def cublas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a run sets for its process is put back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.mark.usefixtures("cublas")
def test_equal_runs_have_equal_bits_and_call_nothing_that_gpus_refuse(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    met, states, curves = set(), [], []
    for name in ("first", "second"):
        run = run_config(f"file://{tmp_path}/{name}", dataset, steps=2, deterministic=True)
        run = run.model_copy(update={"monitoring": Monitoring(histograms_every_steps=1)})
        with Refusing() as refusing:
            verdict = train_alone(run)
        assert verdict.outcome == "Succeeded", verdict.message
        met |= refusing.met
        export = open_export(open_store(Storage(uri=verdict.uri), environ={}))
        states.append(export.state(ARCHITECTURE))
        curves.append(final_curve(run.storage.uri))
    assert not met
    assert torch.get_deterministic_debug_mode() == 2  # errors
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"  # without it GPUs refuse every product
    assert curves[0] == curves[1]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
