"""What a GPU would compute, without one: every operation of forward, backward and update takes what it is
given, and none waits for a value of the device."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
import torch._dynamo.utils
import torch.nn.functional as F
from fake_gpu import Operations, autocast, backward, fake_gpu
from small_architectures import BASE, NEXTN, OWN, PLAIN, SPARSE, with_moe
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.optimization import Optimizer
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.trainable import LossParts
from deepseek_workloads.train.adapt import checkpoint_activations
from deepseek_workloads.train.compile import compile_layers
from deepseek_workloads.train.optimizers.build import build_optimizer

# Where what the device finds decides about shapes: rows that experts take, blocks that buckets fill.
WAITING = {
    "an expert capacity": with_moe(expert_capacity_factor=1.0),
    "lsh": OWN["lsh"],
}
EVERY_KIND = {
    name: architecture
    for name, architecture in {"V3 with MTP": NEXTN, "V3.2": SPARSE, **PLAIN, **OWN}.items()
    if name not in WAITING
}
LENGTH = 64
Recomputed = Literal["none", "selective", "full"]


def step(architecture: Architecture) -> tuple[DeepseekV3ForCausalLM, LossParts]:
    """Inside a fake GPU: a training step in bfloat16."""
    with torch.device("cuda"):
        model = DeepseekV3ForCausalLM(architecture)
    optimizer = build_optimizer(model, Optimizer(learning_rate=1e-4))
    with autocast(torch.bfloat16):
        parts = model.loss(torch.zeros(2, LENGTH + 1, dtype=torch.int64, device="cuda"))
    backward(parts.loss)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    torch.nn.utils.get_total_norm(gradients, foreach=True)
    optimizer.step()
    model.update_router_bias(parts.expert_counts)
    return model, parts


@pytest.mark.parametrize("architecture", EVERY_KIND.values(), ids=EVERY_KIND)
def test_a_step_takes_fitting_operands_and_waits_for_nothing(architecture: Architecture) -> None:
    with fake_gpu():
        model, parts = step(architecture)
        assert parts.loss.dtype == torch.float32
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.shape == parameter.shape, name


def test_norms_experts_and_the_update_are_one_kernel_each() -> None:
    with fake_gpu(), Operations() as operations:
        step(BASE)
    mixtures = BASE.num_hidden_layers - 1
    norms = 4 * BASE.num_hidden_layers + 1
    calls = operations.calls
    assert calls["_fused_rms_norm"] == calls["_fused_rms_norm_backward"] == norms
    assert calls["_grouped_mm"] == 6 * mixtures  # two forward, and two of each of these backward
    assert calls["_fused_adamw_"] == 2  # of matrices, which decay, and of vectors


class Attentions(TorchFunctionMode):
    """Notes what fused attention is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[tuple[Any, ...]] = Counter()

    def __torch_function__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is F.scaled_dot_product_attention:
            widths = {part.shape[-1] for part in args}
            self.shapes[(*widths, {part.dtype for part in args} == {torch.bfloat16}, given["is_causal"])] += 1
            assert given["attn_mask"] is None
        return func(*args, **given)


def test_attention_is_called_as_its_fused_kernels_want_it() -> None:
    """One width of queries, keys and values, one low dtype, and no mask where causality is enough."""
    with fake_gpu(), Attentions() as attentions:
        step(BASE)
    width = max(BASE.qk_nope_head_dim + BASE.qk_rope_head_dim, BASE.v_head_dim)
    assert attentions.shapes == {(width, True, True): BASE.num_hidden_layers}


class Waiting(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden if hidden.sum().item() > 0 else -hidden


def test_what_waits_for_the_device_is_found() -> None:
    with fake_gpu(), pytest.raises(Exception, match="local_scalar_dense"):
        Waiting()(torch.ones(3, device="cuda"))


@pytest.mark.parametrize("architecture", WAITING.values(), ids=WAITING)
def test_what_else_waits_is_known(architecture: Architecture) -> None:
    with fake_gpu(), pytest.raises(Exception, match="local_scalar_dense"):
        step(architecture)


@pytest.fixture
def graphs() -> Iterator[list[fx.GraphModule]]:
    """What layers have been compiled to, of this test alone."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield []
    torch._dynamo.reset()


def compiled_forward(
    graphs: list[fx.GraphModule],
    shapes: list[tuple[int, int]],
    recomputed: Recomputed,
) -> None:
    """Passes over rows of these lengths; each graph is noted, and run as it is."""

    def note(graph: fx.GraphModule, _inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    with fake_gpu():
        with torch.device("cuda"):
            model = DeepseekV3ForCausalLM(DEEP)
        checkpoint_activations(model.layers(), recomputed)
        compile_layers(model.layers(), shared_experts=False, backend=note)
        for rows, length in shapes:
            with autocast(torch.bfloat16):
                model.loss(torch.zeros(rows, length + 1, dtype=torch.int64, device="cuda"))


DEEP = NEXTN.model_copy(update={"num_hidden_layers": 10, "num_nextn_predict_layers": 1})
KINDS = 3  # dense, a mixture, one that looks further


@pytest.mark.parametrize("recomputed", ["none", "selective", "full"])
def test_compiled_layers_of_a_kind_are_one_graph_without_breaks(
    graphs: list[fx.GraphModule], recomputed: Recomputed
) -> None:
    compiled_forward(graphs, [(2, 32)], recomputed)
    assert len(graphs) == KINDS
    assert not torch._dynamo.utils.counters["graph_break"]


def test_from_the_second_shape_on_one_graph_is_for_all(graphs: list[fx.GraphModule]) -> None:
    """Stages of a curriculum, and batches of rows of several lengths."""
    compiled_forward(graphs, [(2, 16), (3, 32), (4, 20), (5, 24), (6, 40), (7, 60), (2, 36)], "none")
    assert len(graphs) == 2 * KINDS
    assert not torch._dynamo.utils.counters["graph_break"]
