"""Whatever module has a precision of its own: passes run, and their loss is the run's but for rounding."""

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from training_cases import ARCHITECTURE, SEEING, VOCABULARY

from deepseek_workloads.contract.architecture import Architecture, Attention, Dropout, HeadGate, Indexer
from deepseek_workloads.contract.optimization import PrecisionOverride
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.images import Images
from deepseek_workloads.plan.modules import module_names, with_precision
from deepseek_workloads.train.precision import override_precision

Precision = Literal["fp32", "bf16"]

ARCHITECTURES: dict[str, Architecture] = {
    "mla": ARCHITECTURE.model_copy(update={"num_nextn_predict_layers": 1}),
    "plain queries": ARCHITECTURE.model_copy(update={"q_lora_rank": None}),
    "indexer": ARCHITECTURE.model_copy(
        update={"indexer": Indexer(index_n_heads=2, index_head_dim=16, index_topk=4)}
    ),
    "head gates": ARCHITECTURE.model_copy(
        update={
            "attention": Attention(head_gate=HeadGate()),
            "dropout": Dropout(attention=0.1, residual=0.1, embedding=0.1),
        }
    ),
    "gqa": ARCHITECTURE.model_copy(update={"attention": Attention(kind="gqa", num_key_value_heads=1)}),
    "gated gqa": ARCHITECTURE.model_copy(update={"attention": Attention(kind="gqa", head_gate=HeadGate())}),
    "window": ARCHITECTURE.model_copy(
        update={"attention": Attention(kind="slidingWindow", sliding_window=4)}
    ),
    "lsh": ARCHITECTURE.model_copy(update={"attention": Attention(kind="lsh", num_buckets=4, num_hashes=2)}),
    "vision": SEEING,
}
IDS = torch.randint(3, VOCABULARY, (2, 17), generator=torch.Generator().manual_seed(3))
ROUNDING = 0.02  # of the loss: bfloat16 keeps eight bits


def one_of_a_kind(name: str) -> list[str]:
    """The modules of a model, of those that differ in a number only the first; of the later architectures
    those in which they differ."""
    kinds: dict[str, str] = {}
    for module in module_names(ARCHITECTURES[name]):
        if name == "mla" or re.search("self_attn|vision|projector", module):
            kinds.setdefault(re.sub(r"\d+", "N", module), module)
    return [*kinds.values(), "*"]


MODULES = [(name, module) for name in ARCHITECTURES for module in one_of_a_kind(name)]


class Passes:
    """What a model of fixed first weights makes of one batch, in training and in evaluation."""

    def __init__(self, name: str, precision: Precision, override: PrecisionOverride | None) -> None:
        model = DeepseekV3ForCausalLM(ARCHITECTURES[name])
        model.init_weights(1)
        if override is not None:
            override_precision(model, override)
        model.dropout_stream.begin_pass(torch.arange(len(IDS)))
        with model.images.within(images(name)):
            with around(precision):
                loss = model.loss(IDS).loss
            loss.backward()
            model.eval()
            with around(precision), torch.no_grad():
                self.held_out = model.loss(IDS).loss
        self.loss = loss.detach()
        self.gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


def images(name: str) -> Images | None:
    if name != "vision":
        return None
    patches = torch.randint(
        0, 256, (1, 4, 3 * 8 * 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )
    return Images(patches, rows=torch.tensor([0]), columns=torch.tensor([2]))


def around(precision: Precision) -> AbstractContextManager[Any]:
    return nullcontext() if precision == "fp32" else torch.autocast("cpu", dtype=torch.bfloat16)


PLAIN: dict[tuple[str, Precision], Passes] = {}


def plain(name: str, precision: Precision) -> Passes:
    key = (name, precision)
    return PLAIN.get(key) or PLAIN.setdefault(key, Passes(name, precision, None))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("precision", "own"), [("bf16", "fp32"), ("fp32", "bf16")])
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_a_module_of_any_kind_has_a_precision_of_its_own(
    name: str, module: str, precision: Precision, own: Precision
) -> None:
    expected = plain(name, precision)
    found = Passes(name, precision, PrecisionOverride(modules=module, precision=own))
    for one, other in ((found.loss, expected.loss), (found.held_out, expected.held_out)):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=ROUNDING, atol=0)
    assert found.gradients.keys() == expected.gradients.keys()
    assert all(gradient.isfinite().all() for gradient in found.gradients.values())
    if module == "*" or module in with_precision(ARCHITECTURES[name]):
        assert not same(found.gradients, expected.gradients), "it has no effect"


def test_a_whole_model_in_float32_under_autocast_is_one_in_float32() -> None:
    found = Passes("mla", "bf16", PrecisionOverride(modules="*", precision="fp32"))
    expected = plain("mla", "fp32")
    assert torch.equal(found.loss, expected.loss)
    assert same(found.gradients, expected.gradients)


def test_what_stands_beside_experts_of_their_own_precision_keeps_the_run_s() -> None:
    model = DeepseekV3ForCausalLM(ARCHITECTURES["mla"])
    model.init_weights(1)
    override_precision(model, PrecisionOverride(modules="*.experts", precision="fp32"))
    seen: list[torch.dtype] = []
    shared = model.model.layers[1].mlp.shared_experts
    shared.down_proj.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with around("bf16"):
        model.loss(IDS)
    assert seen == [torch.bfloat16]
