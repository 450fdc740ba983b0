"""What is written out for speed equals the plain form, values and gradients, in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_workloads.model import chunked_attention, grouped_network
from deepseek_workloads.model.causal import attend_in_documents, attend_masked
from deepseek_workloads.model.chunked_attention import attend_in_chunks
from deepseek_workloads.model.documents import DocumentMask
from deepseek_workloads.model.norm import RMSNorm
from deepseek_workloads.model.swiglu import swiglu


def assert_equal(ours: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    values = ours(*inputs), plain(*inputs)
    upstream = torch.randn_like(values[1])
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(
        torch.autograd.grad(values[0], inputs, upstream), torch.autograd.grad(values[1], inputs, upstream)
    )


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 5, 8, 21])
@pytest.mark.parametrize("at_a_time", [1, 10**6], ids=["head by head", "all heads"])
@pytest.mark.parametrize("value_width", [3, 6, 9])
def test_attention_in_chunks(
    length: int, at_a_time: int, value_width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_attention, "_BLOCK", 8)
    monkeypatch.setattr(chunked_attention, "_BYTES", at_a_time)

    def plain(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=0.3)

    inputs = [draw(4, length, 6), draw(4, length, 6), draw(4, length, value_width)]
    assert_equal(lambda *parts: attend_in_chunks(*parts, 0.3), plain, inputs)


def test_attention_in_documents_is_that_under_their_mask() -> None:
    """Two rows of eight: three documents, and one."""
    mask, documents = DocumentMask(), torch.tensor([[0, 0, 0, 1, 2, 2, 2, 2], [0] * 8])
    with mask.within(documents):
        sizes, allowed = mask.sizes(7), mask.allowed(7)
    assert sizes == [3, 1, 3, 7]
    assert allowed is not None

    def ours(*parts: Tensor) -> Tensor:
        return attend_in_documents(*parts, sizes=sizes, scale=0.3)

    def plain(*parts: Tensor) -> Tensor:
        return attend_masked(*parts, mask=allowed, scale=0.3)

    assert_equal(ours, plain, [draw(2, 7, 3, 6), draw(2, 7, 3, 6), draw(2, 7, 3, 5)])


def test_attention_takes_and_gives_views() -> None:
    def turned(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *parts: attend(*(part.transpose(0, 1) for part in parts)).transpose(0, 1)

    def plain(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=1.0)

    inputs = [draw(7, 4, 6), draw(7, 4, 6), draw(7, 4, 5)]
    assert_equal(turned(lambda *parts: attend_in_chunks(*parts, 1.0)), turned(plain), inputs)


def test_norm() -> None:
    norm = RMSNorm(10, eps=1e-3).double()

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight}, (x,))

    assert_equal(ours, lambda x, weight: F.rms_norm(x, (10,), weight, 1e-3), [draw(2, 5, 10), draw(10)])


def test_norm_of_a_part_of_wider_rows() -> None:
    norm = RMSNorm(6, eps=1e-6).double()
    plain = lambda x: F.rms_norm(x[..., :6], (6,), norm.weight, 1e-6)  # noqa: E731
    assert_equal(lambda x: norm(x[..., :6]), plain, [draw(2, 5, 10)])


def test_norm_hands_low_precision_on_under_autocast() -> None:
    norm, x = RMSNorm(8, eps=1e-6), torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x.bfloat16()), norm(x.bfloat16().float()))


def test_gate() -> None:
    assert_equal(swiglu, lambda gate, up: F.silu(gate) * up, [draw(5, 7), draw(5, 7)])


@pytest.mark.parametrize("multiple", [1, 4], ids=["exact rows", "rounded rows"])
@pytest.mark.parametrize("counts", [[5, 0, 8, 1, 0], [0, 3, 9, 2, 6]], ids=str)
def test_networks_of_which_some_get_no_rows(
    multiple: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouped_network, "_multiple", lambda _: multiple)

    def plain(rows: Tensor, factors: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        outputs = []
        for part, first, second in zip(rows.split(counts), gate_up, down, strict=True):
            gate, up = (part @ first.t()).chunk(2, dim=-1)
            outputs.append((F.silu(gate) * up) @ second.t())
        return torch.cat(outputs) * factors.unsqueeze(1)

    assert_equal(
        lambda rows, factors, *matrices: grouped_network.grouped_network(
            rows, factors, matrices, torch.tensor(counts)
        ),
        plain,
        [draw(sum(counts), 6), draw(sum(counts)), draw(5, 14, 6), draw(5, 6, 7)],
    )
