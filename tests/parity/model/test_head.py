"""The chunked loss is torch's cross-entropy, whatever the size of the chunks."""

import pytest
import torch

from deepseek_workloads.model import head
from deepseek_workloads.model.head import IGNORED, LanguageModelHead

_HIDDEN, _VOCABULARY = 12, 40


@pytest.fixture(params=[1, 7, 21, 1000], ids="rows={}".format)
def rows_in_a_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(head, "LOSS_CHUNK_ELEMENTS", {False: request.param * _VOCABULARY})
    monkeypatch.setattr(head, "_IN_CACHE", 3 * _VOCABULARY)
    return int(request.param)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[LanguageModelHead, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    module = LanguageModelHead(_HIDDEN, _VOCABULARY).to(dtype)
    hidden = torch.randn(3, 7, _HIDDEN, generator=generator).to(dtype).requires_grad_()
    return module, hidden, torch.randint(_VOCABULARY, (3, 7), generator=generator)


def test_loss_and_gradients_equal_those_of_the_whole_logits(rows_in_a_chunk: int) -> None:
    module, hidden, labels = inputs()

    loss = module(hidden, labels)
    ours = torch.autograd.grad(3 * loss, [hidden, module.weight])
    expected = torch.nn.functional.cross_entropy(module(hidden).flatten(0, 1), labels.flatten())
    theirs = torch.autograd.grad(3 * expected, [hidden, module.weight])

    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, theirs)


def test_ignored_labels_count_for_nothing(rows_in_a_chunk: int) -> None:
    module, hidden, labels = inputs()
    labels[1] = IGNORED
    labels[2, 3:] = IGNORED

    loss = module(hidden, labels)
    ours = torch.autograd.grad(loss, [hidden, module.weight])
    expected = torch.nn.functional.cross_entropy(module(hidden).flatten(0, 1), labels.flatten())
    theirs = torch.autograd.grad(expected, [hidden, module.weight])

    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, theirs)


def test_without_a_label_the_loss_is_zero() -> None:
    module, hidden, labels = inputs()

    assert module(hidden, torch.full_like(labels, IGNORED)).item() == 0


def test_without_gradients_only_the_loss_is_made(rows_in_a_chunk: int) -> None:
    module, hidden, labels = inputs()

    with torch.no_grad():
        loss = module(hidden, labels)

    assert not loss.requires_grad
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(module(hidden).flatten(0, 1), labels.flatten())
    )


def test_a_bfloat16_head_returns_a_float32_loss() -> None:
    module, hidden, labels = inputs(torch.bfloat16)

    assert module(hidden, labels).dtype == torch.float32


def test_under_autocast_gradients_come_back_in_the_dtype_of_the_weights() -> None:
    module, hidden, labels = inputs(torch.float32)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(hidden, labels)
    loss.backward()

    assert (hidden.grad is not None, module.weight.grad is not None) == (True, True)
    assert module.weight.grad is not None
    assert module.weight.grad.dtype == torch.float32
