"""Masks are a function of seed, step, sample, layer and place, and of nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_architectures import BASE, PLAIN

from deepseek_workloads.contract.architecture import Architecture, Dropout
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.counter_random import philox
from deepseek_workloads.model.dropout import Dropout as DropoutModule
from deepseek_workloads.model.dropout import DropoutStream

# The reference implementation's known answers (Random123, kat_vectors: philox4x32 10).
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
RATES = Dropout(attention=0.3, residual=0.2, embedding=0.1)
MODELS = {
    "latent attention, experts": BASE.model_copy(update={"dropout": RATES, "num_nextn_predict_layers": 1}),
    "grouped queries": PLAIN["grouped queries"].model_copy(update={"dropout": RATES}),
}
each_model = pytest.mark.parametrize("architecture", MODELS.values(), ids=MODELS.keys())


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_generator_gives_the_references_numbers(
    counter: list[int], key: list[int], expected: list[int]
) -> None:
    words = philox(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))

    assert words.tolist() == expected


def made(architecture: Architecture) -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(architecture).double()
    model.init_weights(3)
    return model.train()


def loss_of(model: DeepseekV3ForCausalLM, rows: torch.Tensor, samples: list[int], *, step: int = 1) -> float:
    model.dropout_stream.begin_step(seed=5, step=step)
    model.dropout_stream.begin_pass(torch.tensor(samples))
    return model.loss(rows).lm_loss.item()


@each_model
def test_a_sample_has_its_masks_wherever_it_stands(architecture: Architecture) -> None:
    model, rows = made(architecture), torch.randint(96, (3, 21), generator=torch.Generator().manual_seed(1))

    together = loss_of(model, rows, [7, 8, 9])

    each = [loss_of(model, rows[[index]], [7 + index]) for index in (2, 0, 1)]
    assert sum(each) / 3 == pytest.approx(together, rel=1e-12)
    assert loss_of(model, rows, [7, 8, 10]) != pytest.approx(together, rel=1e-6)
    assert loss_of(model, rows, [7, 8, 9], step=2) != pytest.approx(together, rel=1e-6)


@each_model
def test_evaluation_drops_nothing(architecture: Architecture) -> None:
    model, rows = made(architecture), torch.randint(96, (1, 20))
    plain = DeepseekV3ForCausalLM(architecture.model_copy(update={"dropout": None})).double().eval()
    plain.load_state_dict(model.state_dict())

    torch.testing.assert_close(model.eval()(rows), plain(rows))


def test_a_pass_that_nobody_has_told_of_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="begin_pass"):
        made(MODELS["grouped queries"]).loss(torch.zeros(1, 5, dtype=torch.int64))


@given(st.floats(0.0, 0.95), st.integers(0, 2**40), st.integers(0, 60))
def test_the_rate_is_kept_and_so_is_the_mean(rate: float, sample: int, layer: int) -> None:
    dropout = DropoutModule(rate, layer=layer, place=1).train()
    dropout.stream = DropoutStream()
    dropout.stream.begin_step(seed=3, step=2)
    dropout.stream.begin_pass(torch.tensor([sample]))

    out = dropout(torch.ones(1, 64, 250))

    assert (out == 0).double().mean().item() == pytest.approx(rate, abs=0.02)
    assert out.mean().item() == pytest.approx(1.0, abs=0.25)


def test_gradients_are_those_of_the_same_masks() -> None:
    """Of attention's weights, which the backward pass makes again."""
    model = made(MODELS["grouped queries"])
    rows = torch.randint(96, (2, 9), generator=torch.Generator().manual_seed(1))
    weight = model.model.layers[0].self_attn.q_proj.weight

    def loss() -> torch.Tensor:
        model.dropout_stream.begin_step(seed=5, step=1)
        model.dropout_stream.begin_pass(torch.tensor([1, 2]))
        return model.loss(rows).loss

    loss().backward()
    step = 1e-5
    with torch.no_grad():
        weight[3, 5] += step
        above = loss()
        weight[3, 5] -= 2 * step
        below = loss()
    assert weight.grad[3, 5].item() == pytest.approx(
        ((above - below) / (2 * step)).item(), rel=1e-4, abs=1e-9
    )


def test_packed_documents_stay_apart_where_weights_are_dropped() -> None:
    model = made(MODELS["latent attention, experts"])
    documents = torch.arange(20).unsqueeze(0) // 9
    rows = torch.randint(96, (1, 20), generator=torch.Generator().manual_seed(1))
    others = torch.cat([rows[:, :9].flip(1), rows[:, 9:]], dim=1)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        model.dropout_stream.begin_step(seed=5, step=1)
        model.dropout_stream.begin_pass(torch.tensor([1]))
        with model.documents.within(documents):
            return model(ids)

    torch.testing.assert_close(logits(others)[:, 9:], logits(rows)[:, 9:])
    assert not torch.allclose(logits(others)[:, :9], logits(rows)[:, :9])
