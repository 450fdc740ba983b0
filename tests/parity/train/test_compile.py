"""`training.compile`: compiled layers compute what plain ones do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch._dynamo
from torch import Tensor, fx
from training_cases import ARCHITECTURE, final_curve, run_config, train_alone, write_dataset

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.train.adapt import checkpoint_activations
from deepseek_workloads.train.compile import compile_layers

LOOKING_AHEAD = ARCHITECTURE.model_copy(update={"num_hidden_layers": 3, "num_nextn_predict_layers": 1})
DENSE = ARCHITECTURE.model_copy(update={"moe": None})
PLAIN_ATTENTION = DENSE.model_copy(
    update={"attention": ARCHITECTURE.attention.model_copy(update={"kind": "gqa", "num_key_value_heads": 1})}
)
PROOF = {"atol": 1e-11, "rtol": 1e-8}
FLOAT32 = {"atol": 1e-6, "rtol": 1e-4}
Mode = Literal["none", "selective", "full"]


@pytest.fixture(autouse=True)
def nothing_compiled_yet() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Compilations:
    """A backend that runs what it is given, and counts."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: fx.GraphModule, _inputs: list[Any]) -> Any:
        self.graphs += 1
        return graph.forward


def model(architecture: Architecture, dtype: torch.dtype = torch.float64) -> DeepseekV3ForCausalLM:
    made = DeepseekV3ForCausalLM(architecture).to(dtype)
    made.init_weights(1)
    return made


def ids(length: int = 17, *, rows: int = 2) -> Tensor:
    return torch.randint(0, 64, (rows, length), generator=torch.Generator().manual_seed(3))


def results(made: DeepseekV3ForCausalLM) -> dict[str, Tensor]:
    parts = made.loss(ids())
    parts.loss.backward()
    gradients = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
    return {"loss": parts.loss.detach(), "counts": parts.expert_counts, **parts.auxiliary, **gradients}


def require_equal(
    architecture: Architecture, mode: Mode, *, backend: str, dtype: torch.dtype, near: dict[str, float]
) -> None:
    plain, compiled = model(architecture, dtype), model(architecture, dtype)
    checkpoint_activations(compiled.layers(), mode)
    compile_layers(compiled.layers(), shared_experts=False, backend=backend)
    expected, found = results(plain), results(compiled)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **near, msg=name)


@pytest.mark.parametrize(
    ("architecture", "mode"),
    [
        (LOOKING_AHEAD, "none"),
        (LOOKING_AHEAD, "selective"),
        (LOOKING_AHEAD, "full"),
        (DENSE, "none"),
        pytest.param(DENSE, "full", marks=pytest.mark.slow),
        pytest.param(PLAIN_ATTENTION, "selective", marks=pytest.mark.slow),
    ],
)
def test_traced_layers_have_the_loss_and_the_gradients_of_plain_ones(
    architecture: Architecture, mode: Mode
) -> None:
    require_equal(architecture, mode, backend="aot_eager", dtype=torch.float64, near=PROOF)


@pytest.mark.parametrize(
    ("architecture", "mode", "dtype"),
    [
        (DENSE, "none", torch.float32),
        pytest.param(LOOKING_AHEAD, "none", torch.float64, marks=pytest.mark.slow),
        pytest.param(LOOKING_AHEAD, "selective", torch.float32, marks=pytest.mark.slow),
        pytest.param(LOOKING_AHEAD, "full", torch.float64, marks=pytest.mark.slow),
    ],
)
def test_kernels_have_the_loss_and_the_gradients_of_plain_layers(
    architecture: Architecture, mode: Mode, dtype: torch.dtype
) -> None:
    near = PROOF if dtype == torch.float64 else FLOAT32
    require_equal(architecture, mode, backend="inductor", dtype=dtype, near=near)


def test_names_of_tensors_stay() -> None:
    plain, compiled = model(LOOKING_AHEAD), model(LOOKING_AHEAD)
    compile_layers(compiled.layers(), shared_experts=False)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in compiled.named_modules()] == [name for name, _ in plain.named_modules()]


def test_passes_without_gradients_run_as_they_are() -> None:
    compilations = Compilations()
    made = model(DENSE)
    compile_layers(made.layers(), shared_experts=False, backend=compilations)
    with torch.no_grad():
        made.loss(ids())
    assert compilations.graphs == 0


@pytest.mark.slow
def test_equal_runs_with_kernels_have_equal_curves(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    curves = []
    for name in ("first", "second"):
        run = run_config(f"file://{tmp_path}/{name}", dataset, steps=3, deterministic=True, compile="always")
        verdict = train_alone(run)
        assert verdict.outcome == "Succeeded", verdict.message
        curves.append(final_curve(run.storage.uri))
    torch.set_deterministic_debug_mode("default")
    assert curves[0] == curves[1]
