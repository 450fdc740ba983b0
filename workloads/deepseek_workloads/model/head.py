"""The language-model head: logits, or the loss of the next token without ever holding all logits.

It knows one matrix; which tokens are predicted from what is its caller's business.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS

_IN_CACHE = 2**18  # logits of a CPU's core between two products: its second-level cache holds them in float32
IGNORED = -100  # a label that is not predicted: padding, a prompt, a repeated row (`data.rows` has the same)


class LanguageModelHead(nn.Linear):
    """`weight` [V, H]."""

    def __init__(self, hidden: int, vocabulary: int) -> None:
        super().__init__(hidden, vocabulary, bias=False)
        # From hidden states [N, H], the weight and labels [N]: what else is learnt from takes its place.
        self.loss: Callable[[Tensor, Tensor, Tensor], Tensor] = cross_entropy

    def forward(self, hidden: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [..., V]; with `labels` int64 [...] the mean cross-entropy instead, over the labels that are
        not IGNORED, in nats and float32."""
        if labels is None:
            return F.linear(hidden, self.weight)
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        rows = hidden.reshape(-1, hidden.shape[-1]).to(dtype)
        return self.loss(rows, self.weight.to(dtype), labels.reshape(-1))


def cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Of `hidden` [N, H], `weight` [V, H] and `labels` int64 [N]: a mean, in nats."""
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, labels)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The gradients are made beside the loss, chunk by chunk, so that logits are made once and dropped."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        needed = any(ctx.needs_input_grad)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        of_hidden = torch.empty_like(hidden) if needed else None
        of_weight = torch.zeros_like(weight, dtype=exact) if needed else None
        total = torch.zeros((), dtype=exact, device=hidden.device)
        counted = labels != IGNORED
        # The mean's divisor comes in with the backward pass: float16 has no room for so small numbers.
        mean = counted.sum().clamp(min=1).to(exact).reciprocal()
        ones = counted.to(exact).unsqueeze(1)
        expected = labels.where(counted, 0).unsqueeze(1)
        on_gpu = hidden.device.type == "cuda"
        rows = max(1, LOSS_CHUNK_ELEMENTS[on_gpu] // weight.shape[0])
        at_a_time = rows if on_gpu else max(1, _IN_CACHE // weight.shape[0])
        logits = hidden.new_empty(min(rows, hidden.shape[0]), weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            end = min(start + rows, hidden.shape[0])
            part, gradient = hidden[start:end], logits[: end - start]
            torch.mm(part, weight.t(), out=gradient)
            for first in range(start, end, at_a_time):
                last = min(first + at_a_time, end)
                of_rows = gradient[first - start : last - start]
                total += _replace_by_gradient(of_rows, expected[first:last], ones[first:last])
            if of_hidden is None or of_weight is None:
                continue
            torch.mm(gradient, weight, out=of_hidden[start:end])
            _accumulate_product(of_weight, gradient.t(), part)
        # Not yet a mean, a sum can be too large for float16; other numbers are kept as they will be given.
        if of_weight is not None and weight.dtype != torch.float16:
            of_weight = of_weight.to(weight.dtype)
        ctx.save_for_backward(of_hidden, of_weight, mean)
        ctx.weight_dtype = weight.dtype
        return total * mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        of_hidden, of_weight, mean = ctx.saved_tensors
        scale = gradients[0] * mean
        return of_hidden * scale.to(of_hidden.dtype), (of_weight * scale).to(ctx.weight_dtype), None


def _replace_by_gradient(logits: Tensor, expected: Tensor, ones: Tensor) -> Tensor:
    """`logits` [n, V] become the gradient of the sum of the rows' losses, which is returned; int64 `expected`
    [n, 1], `ones` [n, 1] with 0 where a row does not count, in the dtype to compute in."""
    exact = logits.to(ones.dtype)
    largest, of_expected = exact.amax(-1, keepdim=True), exact.gather(1, expected)
    probabilities = exact.softmax(-1)
    # The largest probability is exp(largest - logsumexp) and at least 1/V: the fused softmax is enough, and
    # logsumexp needs no second pass of exponentials.
    normaliser = largest - probabilities.amax(-1, keepdim=True).log()
    logits.copy_(probabilities.mul_(ones).scatter_add_(1, expected, -ones))
    return ((normaliser - of_expected) * ones).sum()


def _accumulate_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """`total` += `left` @ `right`, without a temporary where the dtypes agree."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
