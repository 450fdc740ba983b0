"""Heads behind gates: wide open they are plain attention, closed ones are nothing and cost nothing."""

from collections.abc import Callable

import pytest
import torch
from small_architectures import BASE, PLAIN
from torch.utils.flop_counter import FlopCounterMode

from deepseek_workloads.contract.architecture import Architecture, HeadGate
from deepseek_workloads.contract.objective import Lora, Quantisation
from deepseek_workloads.model.batch_cache import BatchCaches
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM, DeepseekV3Model
from deepseek_workloads.plan.tensors import cache_width, parameter_shapes
from deepseek_workloads.train.lora import A, B, add_lora
from deepseek_workloads.train.quantise import quantise_weights

KINDS = {"latent": BASE, "grouped queries": PLAIN["grouped queries"]}
each_kind = pytest.mark.parametrize("plain", KINDS.values(), ids=KINDS.keys())


def gated(plain: Architecture, *, penalty: float = 0.01) -> Architecture:
    attention = plain.attention.model_copy(update={"head_gate": HeadGate(penalty_weight=penalty)})
    return plain.model_copy(update={"attention": attention})


def made(architecture: Architecture, *, spread: float = 0.0) -> DeepseekV3ForCausalLM:
    """`spread`: of the gates' weights, so that some are closed."""
    torch.manual_seed(2)
    model = DeepseekV3ForCausalLM(architecture).double().eval()
    model.init_weights(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".head_gate." in name and spread:
                parameter.normal_(std=spread)
    return model


def tokens(rows: int = 2, length: int = 30) -> torch.Tensor:
    return torch.randint(96, (rows, length), generator=torch.Generator().manual_seed(1))


@each_kind
def test_wide_open_gates_are_plain_attention_in_value_and_gradient(plain: Architecture) -> None:
    with_gates, without = made(gated(plain, penalty=0.0)), made(plain)
    for layer in with_gates.model.layers:
        layer.self_attn.head_gate.weight.data.zero_()
        layer.self_attn.head_gate.bias.data.fill_(60.0)
    without.load_state_dict({n: t for n, t in with_gates.state_dict().items() if ".head_gate." not in n})

    for model in (with_gates, without):
        model.train().loss(tokens()).loss.backward()

    found = {n: p.grad for n, p in with_gates.named_parameters() if ".head_gate." not in n}
    torch.testing.assert_close(found, {n: p.grad for n, p in without.named_parameters()})
    with torch.no_grad():
        torch.testing.assert_close(with_gates.eval()(tokens()), without.eval()(tokens()))


@each_kind
def test_closed_heads_that_are_skipped_are_closed_heads_that_are_multiplied_by_zero(
    plain: Architecture,
) -> None:
    model, ids = made(gated(plain), spread=1.0), tokens(length=160)

    multiplied = model(ids)
    with torch.no_grad():
        skipped = model(ids)

    torch.testing.assert_close(skipped, multiplied.detach())


def with_lora(model: DeepseekV3ForCausalLM) -> None:
    add_lora(model, Lora(targets=["*.kv_b_proj", "*.k_proj"], rank=2))
    for name, parameter in model.named_parameters():
        if name.endswith((A, B)):
            torch.nn.init.normal_(parameter, std=0.1)


def rounded(model: DeepseekV3ForCausalLM) -> None:
    quantise_weights(model, Quantisation(bits=4))


@each_kind
@pytest.mark.parametrize("adapt", [with_lora, rounded])
def test_what_training_puts_around_products_also_counts_where_heads_are_skipped(
    plain: Architecture, adapt: Callable[[DeepseekV3ForCausalLM], None]
) -> None:
    model, ids = made(gated(plain), spread=1.0), tokens()
    adapt(model)

    multiplied = model(ids)
    with torch.no_grad():
        skipped = model(ids)

    torch.testing.assert_close(skipped, multiplied.detach())


@each_kind
@torch.no_grad()
def test_decoding_with_caches_gives_the_logits_of_the_whole_sequence(plain: Architecture) -> None:
    architecture = gated(plain)
    model, ids = made(architecture, spread=1.0), tokens(rows=1)
    expected = model(ids)
    caches = model.caches()
    model(ids[:, :20], caches=caches)
    together = BatchCaches(
        layers=architecture.num_hidden_layers,
        width=cache_width(architecture),
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    together.join(caches)

    for position in range(20, 30):
        together.begin_step()
        logits = model(ids[:, [position]], start=together.lengths, caches=together.layers)
        together.end_step()
        torch.testing.assert_close(logits[:, 0], expected[:, position])


@each_kind
@torch.no_grad()
def test_closed_heads_cost_nothing(plain: Architecture) -> None:
    attention = made(gated(plain)).model.layers[0].self_attn
    hidden = torch.ones(2, 30, 32, dtype=torch.float64)
    rotation = DeepseekV3Model(plain).rotation(0, length=30, like=hidden)

    def flops(*, bias: float) -> int:
        attention.head_gate.bias.fill_(bias)
        with FlopCounterMode(display=False) as counter:
            attention(hidden, rotation)
        return counter.get_total_flops()

    prefix = "model.layers.0.self_attn."
    shapes = {n.removeprefix(prefix): s for n, s in parameter_shapes(gated(plain)).items() if prefix in n}
    before = [s[0] * s[1] for n, s in shapes.items() if len(s) == 2 and n != "kv_b_proj.weight"]
    assert flops(bias=-50.0) == 2 * 60 * sum(before)
    assert flops(bias=50.0) > flops(bias=-50.0)


@each_kind
def test_the_penalty_is_reported_and_closes_heads(plain: Architecture) -> None:
    model = made(gated(plain, penalty=1.0)).train()
    optimizer = torch.optim.SGD([p for n, p in model.named_parameters() if "head_gate" in n], lr=5.0)

    seen = []
    for _ in range(20):
        optimizer.zero_grad()
        parts = model.loss(tokens())
        seen.append(parts.auxiliary["headGateLoss"].item())
        parts.loss.backward()
        optimizer.step()

    assert seen[0] == pytest.approx(plain.num_hidden_layers * 0.88, rel=0.02)
    assert seen[-1] < 0.5 * seen[0]


@torch.no_grad()
def test_packed_documents_stay_apart_where_heads_are_skipped() -> None:
    model, ids = made(gated(BASE), spread=1.0), tokens()
    documents = torch.arange(30).expand(2, -1) // 13

    with model.documents.within(documents):
        packed = model(ids)

    for row in range(2):
        # Rotary positions are relative: a document by itself gives the same.
        alone = model(ids[row : row + 1, 13:26])
        torch.testing.assert_close(packed[row : row + 1, 13:26], alone)
