"""Rows of several documents: every kernel gives what attention under their mask gives, and each device gets
the one that it can run."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deepseek_workloads.model import causal, document_attention
from deepseek_workloads.model.causal import attend_masked, attend_packed
from deepseek_workloads.model.document_attention import Kernel, attend_within_documents, choose
from deepseek_workloads.model.documents import DocumentMask

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
LONG, SHORT = [500, 12], [3] * 100
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.mark.parametrize(
    ("device", "capability", "dtype", "width", "sizes", "kernel"),
    [
        ("cuda", (9, 0), BF16, 192, LONG, Kernel.PACKED),
        ("cuda", (8, 0), FP16, 256, SHORT, Kernel.PACKED),
        ("cuda", (12, 0), BF16, 64, SHORT, Kernel.PACKED),
        ("cuda", (9, 0), BF16, 257, LONG, Kernel.MASKED),
        ("cuda", (9, 0), FP32, 192, LONG, Kernel.MASKED),
        ("cuda", (7, 5), FP16, 192, LONG, Kernel.MASKED),
        ("cuda", None, BF16, 192, LONG, Kernel.MASKED),
        ("cpu", None, BF16, 192, LONG, Kernel.ONE_BY_ONE),
        ("cpu", None, FP32, 192, SHORT, Kernel.MASKED),
    ],
    ids=str,
)
def test_a_kernel_is_chosen_by_what_the_device_can_do(
    device: str,
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    width: int,
    sizes: Sequence[int],
    kernel: Kernel,
) -> None:
    assert choose(device, capability=capability, dtype=dtype, width=width, sizes=sizes) is kernel


@st.composite
def packed_rows(draw: st.DrawFn) -> Tensor:
    """int64 [rows, T]: numbers of documents, some rows with padding at the end."""
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 24))
    of_rows = []
    for _ in range(rows):
        steps = torch.tensor(draw(st.lists(st.booleans(), min_size=length, max_size=length)))
        documents = steps.long().cumsum(0)
        documents[length - draw(st.integers(0, length)) :] = -1
        of_rows.append(documents)
    return torch.stack(of_rows)


@settings(deadline=None, max_examples=200)
@given(packed_rows(), st.data())
def test_borders_say_what_the_mask_says(documents: Tensor, data: st.DataObject) -> None:
    rows, whole = documents.shape
    length = data.draw(st.integers(1, whole))
    mask = DocumentMask()
    with mask.within(documents):
        allowed, borders, sizes = mask.allowed(length), mask.borders(length), mask.sizes(length)

    assert allowed is not None
    assert borders.dtype == torch.int32
    assert borders.diff().tolist() == sizes
    one_after_another = torch.block_diag(*(torch.ones(size, size).tril() for size in sizes)).bool()
    of_rows = one_after_another.unflatten(0, (rows, length)).unflatten(2, (rows, length))
    for row in range(rows):
        torch.testing.assert_close(allowed[row, 0], of_rows[row, :, row])
    assert one_after_another.sum() == allowed.sum(), "nothing of another row is seen"


def by_definition(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
) -> Tensor:
    """What torch documents of `varlen_attn`, and what its kernel refuses."""
    assert query.shape == key.shape == value.shape
    assert query.shape[-1] % 8 == 0
    assert query.dtype == key.dtype == value.dtype
    assert cu_seq_q is cu_seq_k
    assert max_q == max_k >= int(cu_seq_q.diff().max())
    assert window_size == (-1, 0), "causal"
    outputs = []
    for begin, end in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        own = slice(begin, end)
        scores = torch.einsum("tad,sad->ats", query[own], key[own]) * scale
        hidden = torch.ones(end - begin, end - begin, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        outputs.append(torch.einsum("ats,saw->taw", weights, value[own]))
    return torch.cat(outputs)


DOCUMENTS = torch.tensor([[0, 0, 0, 1, 2, 2, 2, 2, -1, -1], [0] * 10])


def draw_parts(rows: int, length: int, *, width: int = 20, of_values: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    widths = [width, width, of_values]
    return [torch.randn(rows, length, 3, each, generator=generator, dtype=torch.float64) for each in widths]


@pytest.mark.parametrize(("width", "of_values"), [(20, 12), (12, 20), (8, 8)])
def test_the_packed_kernel_gets_documents_apart(
    width: int, of_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal, "varlen_attn", by_definition)
    parts = [part.requires_grad_() for part in draw_parts(2, 9, width=width, of_values=of_values)]
    mask = DocumentMask()
    with mask.within(DOCUMENTS):
        allowed, borders, longest = mask.allowed(9), mask.borders(9), max(mask.sizes(9))

    assert allowed is not None
    ours = attend_packed(*parts, borders=borders, longest=longest, scale=0.3)
    expected = attend_masked(*parts, mask=allowed, scale=0.3)

    torch.testing.assert_close(ours, expected)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours, parts, upstream), torch.autograd.grad(expected, parts, upstream)
    )


def test_the_packed_kernel_gets_what_autocast_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal, "varlen_attn", by_definition)
    queries, keys, values = (part.float() for part in draw_parts(1, 4))
    borders = torch.tensor([0, 4], dtype=torch.int32)
    with torch.autocast("cpu", dtype=BF16):
        attended = attend_packed(
            queries, keys.bfloat16(), values.bfloat16(), borders=borders, longest=4, scale=1
        )
    assert attended.dtype == BF16


def test_values_and_gradients_of_the_packed_kernel_have_their_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tensors without contents, which need no GPU: queries and keys of 192 features, values of 128."""
    monkeypatch.setattr(document_attention, "_capability", lambda _: (9, 0))
    mask, device = DocumentMask(), torch.device("meta")
    parts = [
        torch.empty(2, 10, 4, width, dtype=BF16, device=device, requires_grad=True)
        for width in (192, 192, 128)
    ]
    with FlopCounterMode(display=False) as counted, mask.within(DOCUMENTS, device=device):
        attended = attend_within_documents(*parts, documents=mask, scale=0.1)
        gradients = torch.autograd.grad(attended, parts, torch.ones_like(attended))

    assert torch.ops.torch_attn._varlen_attn in counted.get_flop_counts()["Global"]
    assert (attended.shape, attended.dtype) == ((2, 10, 4, 128), BF16)
    assert [part.shape for part in gradients] == [part.shape for part in parts]


@GPU
@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_on_a_gpu_documents_are_attended_to_as_under_their_mask(dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(1)
    documents = (torch.rand(2, 700, generator=generator) < 0.01).long().cumsum(1)
    parts = [
        torch.randn(2, 700, 4, width, generator=generator).to(device, dtype).requires_grad_()
        for width in (192, 192, 128)
    ]
    exact = [part.detach().double().requires_grad_() for part in parts]
    mask = DocumentMask()
    with mask.within(documents, device=device):
        allowed = mask.allowed(700)
        assert allowed is not None
        expected = attend_masked(*exact, mask=allowed, scale=0.07)
        torch.cuda.set_sync_debug_mode("error")  # nothing may wait for the device
        try:
            ours = attend_within_documents(*parts, documents=mask, scale=0.07)
            gradients = torch.autograd.grad(ours.square().sum(), parts)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    torch.testing.assert_close(ours.double(), expected, rtol=2e-2, atol=2e-2)
    for part, other in zip(gradients, torch.autograd.grad(expected.square().sum(), exact), strict=True):
        torch.testing.assert_close(part.double(), other, rtol=5e-2, atol=5e-2)
