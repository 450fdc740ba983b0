"""Sequences decoded together from one cache get the logits of a plain forward pass over each of them."""

import pytest
import torch
from small_architectures import ARCHITECTURES, BASE

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.batch_cache import BatchCaches
from deepseek_workloads.model.caches import LayerCache
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM

STEPS = 6


def model_of(architecture: Architecture) -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(architecture)
    model.init_weights(3)
    return model.double().eval()


def caches_of(model: DeepseekV3ForCausalLM) -> BatchCaches:
    a = model.architecture
    return BatchCaches(
        layers=a.num_hidden_layers,
        width=a.kv_lora_rank + a.qk_rope_head_dim,
        dtype=torch.float64,
        device=torch.device("cpu"),
    )


def sequence(seed: int, length: int) -> torch.Tensor:
    return torch.randint(0, BASE.vocab_size, (length,), generator=torch.Generator().manual_seed(seed))


def join(model: DeepseekV3ForCausalLM, caches: BatchCaches, prompt: torch.Tensor) -> int:
    layers = [LayerCache() for _ in model.model.layers]
    model(prompt.unsqueeze(0), caches=layers)
    return caches.join(layers)


def decode(model: DeepseekV3ForCausalLM, caches: BatchCaches, tokens: torch.Tensor) -> torch.Tensor:
    caches.begin_step()
    logits: torch.Tensor = model(tokens.unsqueeze(1), start=caches.lengths, caches=caches.layers)
    caches.end_step()
    return logits[:, 0]


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@torch.inference_mode()
def test_rows_of_different_lengths_equal_a_plain_forward(architecture: Architecture) -> None:
    model = model_of(architecture)
    lengths = [3, 17, 1]
    sequences = [sequence(seed, length + STEPS) for seed, length in enumerate(lengths)]
    expected = [model(ids.unsqueeze(0))[0] for ids in sequences]

    caches = caches_of(model)
    for ids, length in zip(sequences, lengths, strict=True):
        join(model, caches, ids[:length])
    for step in range(STEPS):
        tokens = torch.stack([ids[length + step] for ids, length in zip(sequences, lengths, strict=True)])
        logits = decode(model, caches, tokens)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(logits[row], expected[row][length + step], atol=1e-9, rtol=1e-9)


@torch.inference_mode()
def test_a_row_that_leaves_is_filled_by_the_last_and_another_may_join() -> None:
    model = model_of(BASE)
    first, second, third = (sequence(seed, 30) for seed in range(3))
    caches = caches_of(model)
    join(model, caches, first[:10])
    join(model, caches, second[:4])

    decode(model, caches, torch.stack([first[10], second[4]]))
    caches.leave(0)
    row = join(model, caches, third[:20])
    logits = decode(model, caches, torch.stack([second[5], third[20]]))

    assert (row, len(caches)) == (1, 2)
    for found, ids, position in ((logits[0], second, 5), (logits[1], third, 20)):
        expected = model(ids[: position + 1].unsqueeze(0))[0, -1]
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@torch.inference_mode()
def test_rows_grow_beyond_the_first_capacity() -> None:
    model = model_of(BASE)
    ids = sequence(0, 128)
    caches = caches_of(model)
    join(model, caches, ids[:60])

    for position in range(60, 128):
        logits = decode(model, caches, ids[position].unsqueeze(0))

    torch.testing.assert_close(logits[0], model(ids.unsqueeze(0))[0, -1], atol=1e-9, rtol=1e-9)
