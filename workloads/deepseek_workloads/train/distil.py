"""Distillation (Hinton et al. 2015, arXiv:1503.02531): the student is pulled to its teacher's probabilities.

    loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy

as a mean over the labels that count. The teacher runs beside the student on every rank; of both only a chunk
of logits is in memory at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import IGNORED, LanguageModelHead, cross_entropy
from deepseek_workloads.model.losses import DISTILLATION_LOSS
from deepseek_workloads.model.trainable import LossParts
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS

_COPIES: Final = 8  # float32 arrays of logits' size that a chunk's forward and backward pass hold


class Distillation:
    """Between a student, whose head learns from it, and a teacher in evaluation mode on the same device."""

    def __init__(
        self, student: LanguageModelHead, teacher: DeepseekV3ForCausalLM, *, alpha: float, temperature: float
    ) -> None:
        self._teacher, self._alpha, self._temperature = teacher, alpha, temperature
        self._hidden: Tensor | None = None  # [B * T, H] of the teacher, for the pass that is running
        self._told: Distilled | None = None  # of that pass
        student.loss = self._loss

    @contextmanager
    def over(self, inputs: Tensor, documents: Tensor | None) -> Iterator[None]:
        """Around forward and backward of a pass of the student over `inputs` int64 [B, T]."""
        with torch.no_grad(), self._teacher.documents.within(documents):
            self._hidden = self._teacher.model(inputs).last.flatten(0, 1)
        try:
            yield
        finally:
            self._hidden = None

    def told(self, parts: LossParts) -> LossParts:
        """Of the pass that has just run: the loss of the text as in any run, of which 1 - alpha counts, and
        the teacher's part as it counts."""
        assert self._told is not None
        pulled = self._alpha * self._temperature**2 * self._told.divergence
        return parts._replace(
            lm_loss=self._told.entropy, auxiliary={**parts.auxiliary, DISTILLATION_LOSS: pulled}
        )

    def _loss(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        teacher = self._hidden
        if teacher is None or len(teacher) != len(hidden):  # evaluation, modules that look further
            return cross_entropy(hidden, weight, labels)
        of_teacher = (teacher, self._teacher.lm_head.weight.detach())
        parts = distilled((hidden, weight), of_teacher, labels, temperature=self._temperature)
        self._told = Distilled(*(part.detach() for part in parts))
        return self._alpha * self._temperature**2 * parts.divergence + (1 - self._alpha) * parts.entropy


class Distilled(NamedTuple):
    """Means over the labels that count, in nats: float32 scalars, float64 of float64 inputs."""

    divergence: Tensor  # of the student from the teacher, both at the temperature
    entropy: Tensor  # of the text


def distilled(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], labels: Tensor, *, temperature: float
) -> Distilled:
    """Of each model its hidden states [N, H] and its head's weight [V, H]; `labels` int64 [N]."""
    hidden, weight = student
    chunk = max(1, LOSS_CHUNK_ELEMENTS[hidden.is_cuda] // (_COPIES * weight.shape[0]))
    exact = torch.promote_types(hidden.dtype, torch.float32)
    sums = [hidden.new_zeros((), dtype=exact) for _ in Distilled._fields]
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        of_chunk: Any = checkpoint(  # logits are made again for the backward pass
            _sums_over_labels,
            (hidden[part], weight),
            (teacher[0][part], teacher[1]),
            labels[part],
            temperature,
            use_reentrant=False,
        )
        sums = [total + more for total, more in zip(sums, of_chunk, strict=True)]
    counted = (labels != IGNORED).sum().clamp(min=1)
    return Distilled(*(total / counted for total in sums))


def _sums_over_labels(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], labels: Tensor, temperature: float
) -> Distilled:
    logits, wanted = (_logits(*side) for side in (student, teacher))
    log_student = (logits / temperature).log_softmax(-1)
    log_teacher = (wanted / temperature).log_softmax(-1)
    divergence = F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)
    entropy = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return Distilled((divergence * (labels != IGNORED)).sum(), entropy)


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    product = F.linear(hidden, weight)
    return product.to(torch.promote_types(product.dtype, torch.float32))
