"""Distillation (Hinton et al. 2015, arXiv:1503.02531): the student is pulled to its teacher's probabilities.

    loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy

as a mean over the labels that count. The teacher runs beside the student on every rank; of both only a chunk
of logits is in memory at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import IGNORED, LanguageModelHead
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS


class Distillation:
    """Between a student, whose head it wraps, and a teacher in evaluation mode on the same device."""

    def __init__(
        self, student: LanguageModelHead, teacher: DeepseekV3ForCausalLM, *, alpha: float, temperature: float
    ) -> None:
        self._teacher, self._alpha, self._temperature = teacher, alpha, temperature
        self._hidden: Tensor | None = None  # [B, T, H] of the teacher, for the pass that is running
        student.forward = self._wrapped(student)  # type: ignore[method-assign]

    @contextmanager
    def over(self, inputs: Tensor, documents: Tensor | None) -> Iterator[None]:
        """Around forward and backward of a pass of the student over `inputs` int64 [B, T]."""
        with torch.no_grad(), self._teacher.documents.within(documents):
            self._hidden = self._teacher.model(inputs).last
        try:
            yield
        finally:
            self._hidden = None

    def _wrapped(self, head: LanguageModelHead) -> Callable[..., Tensor]:
        plain: Callable[..., Tensor] = head.forward

        def forward(hidden: Tensor, labels: Tensor | None = None) -> Tensor:
            teacher = self._hidden
            if labels is None or teacher is None or teacher.shape[:2] != hidden.shape[:2]:
                return plain(hidden, labels)  # generation, evaluation, modules that look further
            return distillation_loss(
                (hidden.flatten(0, 1), head.weight),
                (teacher.flatten(0, 1), self._teacher.lm_head.weight.detach()),
                labels.flatten(),
                alpha=self._alpha,
                temperature=self._temperature,
            )

        return forward


def distillation_loss(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    labels: Tensor,
    *,
    alpha: float,
    temperature: float,
) -> Tensor:
    """Of each model its hidden states [N, H] and its head's weight [V, H]; `labels` int64 [N]. A float32
    scalar, or float64 of float64 inputs."""
    hidden, weight = student
    chunk = max(1, LOSS_CHUNK_ELEMENTS[hidden.is_cuda] // weight.shape[0])
    total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        loss: Any = checkpoint(  # logits are made again for the backward pass
            _sum_over_labels,
            (hidden[part], weight),
            (teacher[0][part], teacher[1]),
            labels[part],
            alpha,
            temperature,
            use_reentrant=False,
        )
        total = total + loss
    return total / (labels != IGNORED).sum().clamp(min=1)


def _sum_over_labels(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    labels: Tensor,
    alpha: float,
    temperature: float,
) -> Tensor:
    logits, wanted = (_logits(*side) for side in (student, teacher))
    counted = labels != IGNORED
    log_student = (logits / temperature).log_softmax(-1)
    log_teacher = (wanted / temperature).log_softmax(-1)
    divergence = F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)
    entropy = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    pulled = (divergence * counted).sum()
    return alpha * temperature**2 * pulled + (1 - alpha) * entropy


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    product = F.linear(hidden, weight)
    return product.to(torch.promote_types(product.dtype, torch.float32))
