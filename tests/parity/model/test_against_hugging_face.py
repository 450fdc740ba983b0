"""Our model computes what Hugging Face's DeepseekV3ForCausalLM computes from the same weights."""

import pytest
import torch
from hugging_face_oracle import assert_same_gradients, exact, pair, token_ids
from small_architectures import ARCHITECTURES, BASE

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.caches import LayerCache

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


@every_architecture
def test_logits_in_float32(architecture: Architecture) -> None:
    ours, oracle = pair(architecture)
    ids = token_ids(architecture, sequences=2, length=40)

    torch.testing.assert_close(ours(ids), oracle(ids).logits, atol=1e-4, rtol=1e-4)


@every_architecture
def test_logits_in_float64(architecture: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, oracle = pair(architecture, dtype=torch.float64)
    ids = token_ids(architecture, sequences=2, length=128)

    with exact(monkeypatch):
        expected = oracle(ids).logits

    torch.testing.assert_close(ours(ids), expected, atol=1e-9, rtol=1e-9)


@every_architecture
def test_loss_and_every_gradient_in_float64(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, oracle = pair(architecture, dtype=torch.float64)
    ids = token_ids(architecture, sequences=3, length=33)

    parts = ours.loss(ids)
    parts.loss.backward()
    with exact(monkeypatch):
        logits = oracle(ids[:, :-1]).logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        expected.backward()

    torch.testing.assert_close(parts.lm_loss, expected.detach(), atol=1e-10, rtol=1e-10)
    assert_same_gradients(ours, oracle, atol=1e-9, rtol=1e-7)


def test_bfloat16_strays_no_further_from_float32_than_the_oracle_does() -> None:
    error, of_oracle = 0.0, 0.0
    for seed in range(8):
        ids = token_ids(BASE, sequences=2, length=64, seed=seed)
        reference = pair(BASE, seed=seed)[0](ids)
        ours, oracle = pair(BASE, dtype=torch.bfloat16, seed=seed)
        error += float((ours(ids).float() - reference).abs().mean())
        of_oracle += float((oracle(ids).logits.float() - reference).abs().mean())

    assert error < 1.2 * of_oracle


@every_architecture
def test_decoding_token_by_token_from_latents_gives_the_logits_of_one_pass(
    architecture: Architecture,
) -> None:
    ours, _ = pair(architecture, dtype=torch.float64)
    ids = token_ids(architecture, sequences=2, length=24)
    caches = [LayerCache() for _ in range(architecture.num_hidden_layers)]

    pieces = [ours(ids[:, :10], caches=caches), ours(ids[:, 10:15], start=10, caches=caches)]
    pieces += [ours(ids[:, place : place + 1], start=place, caches=caches) for place in range(15, 24)]

    torch.testing.assert_close(torch.cat(pieces, dim=1), ours(ids), atol=1e-10, rtol=1e-10)
