"""Distillation (Hinton et al. 2015, arXiv:1503.02531): the student is pulled to its teacher's probabilities.

    loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy

as a mean over the labels that count. The teacher runs beside the student on every rank, or what it foresees
was stored (`data.top_k`): of each position the k most probable tokens and the mass of all others, which then
are one outcome. That divergence is a lower bound of the whole one (log-sum inequality: Cover and Thomas,
Elements of Information Theory, theorem 2.7.1), and equal to it where k is the vocabulary. Of logits only a
chunk is in memory at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from deepseek_workloads.data.top_k import TopK
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.head import IGNORED, LanguageModelHead, cross_entropy
from deepseek_workloads.model.losses import DISTILLATION_LOSS
from deepseek_workloads.model.trainable import LossParts
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS

_LEAST: Final = -80.0  # logarithm of a mass that float32 still has
_COPIES: Final = 8  # float32 arrays of logits' size that a chunk's forward and backward pass hold


class Foreseen(Protocol):
    """Of N positions, what a teacher takes for probable."""

    def __len__(self) -> int: ...

    def divergence(self, part: slice, logits: Tensor, temperature: float) -> Tensor:
        """Of the student's `logits` [n, V] at the positions of `part`, both at the temperature: [n], nats."""


@dataclass(frozen=True)
class OfTeacher:
    hidden: Tensor  # [N, H]
    weight: Tensor  # [V, H], of its head

    def __len__(self) -> int:
        return len(self.hidden)

    def divergence(self, part: slice, logits: Tensor, temperature: float) -> Tensor:
        """As Foreseen's."""
        wanted = _logits(self.hidden[part], self.weight)
        log_student = (logits / temperature).log_softmax(-1)
        log_teacher = (wanted / temperature).log_softmax(-1)
        return F.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)


@dataclass(frozen=True)
class Stored:
    ids: Tensor  # int64 [N, k]
    log_probabilities: Tensor  # float32 [N, k], at the temperature
    log_rest: Tensor  # float32 [N], of all other tokens together

    def __len__(self) -> int:
        return len(self.ids)

    def divergence(self, part: slice, logits: Tensor, temperature: float) -> Tensor:
        """As Foreseen's; `temperature` is the one that they were stored with."""
        ids, log_teacher = self.ids[part], self.log_probabilities[part]
        log_student = (logits / temperature).log_softmax(-1)
        of_named = (log_teacher.exp() * (log_teacher - log_student.gather(-1, ids))).sum(-1)
        if ids.shape[-1] == logits.shape[-1]:
            return of_named
        log_others = log_student.scatter(-1, ids, -torch.inf).logsumexp(-1)
        log_rest = self.log_rest[part].clamp(min=_LEAST)
        return of_named + log_rest.exp() * (log_rest - log_others)


class Distillation:
    """Between a student, whose head learns from it, and a teacher in evaluation mode on the same device;
    without one, what was stored comes with each pass."""

    def __init__(
        self,
        student: LanguageModelHead,
        teacher: DeepseekV3ForCausalLM | None,
        *,
        alpha: float,
        temperature: float,
    ) -> None:
        self._teacher, self._alpha, self._temperature = teacher, alpha, temperature
        self._foreseen: Foreseen | None = None  # in the pass that is running
        self._told: Distilled | None = None  # of that pass
        student.loss = self._loss

    @contextmanager
    def over(self, inputs: Tensor, documents: Tensor | None, top_k: TopK | None = None) -> Iterator[None]:
        """Around forward and backward of a pass of the student over `inputs` int64 [B, T]."""
        if self._teacher is None:
            assert top_k is not None, "plan.distillation_rules"
            self._foreseen = _on_device(top_k, positions=inputs.numel(), device=inputs.device)
        else:
            with torch.no_grad(), self._teacher.documents.within(documents, device=inputs.device):
                hidden = self._teacher.model(inputs).last.flatten(0, 1)
            self._foreseen = OfTeacher(hidden, self._teacher.lm_head.weight.detach())
        try:
            yield
        finally:
            self._foreseen = None

    def told(self, parts: LossParts) -> LossParts:
        """Of the pass that has just run: the loss of the text as in any run, of which 1 - alpha counts, and
        the teacher's part as it counts."""
        assert self._told is not None
        pulled = self._alpha * self._temperature**2 * self._told.divergence
        return parts._replace(
            lm_loss=self._told.entropy, auxiliary={**parts.auxiliary, DISTILLATION_LOSS: pulled}
        )

    def _loss(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        foreseen = self._foreseen
        if foreseen is None or len(foreseen) != len(hidden):  # evaluation, modules that look further
            return cross_entropy(hidden, weight, labels)
        parts = distilled((hidden, weight), foreseen, labels, temperature=self._temperature)
        self._told = Distilled(*(part.detach() for part in parts))
        return self._alpha * self._temperature**2 * parts.divergence + (1 - self._alpha) * parts.entropy


class Distilled(NamedTuple):
    """Means over the labels that count, in nats: float32 scalars, float64 of float64 inputs."""

    divergence: Tensor  # of the student from the teacher, both at the temperature
    entropy: Tensor  # of the text


def distilled(
    student: tuple[Tensor, Tensor], foreseen: Foreseen, labels: Tensor, *, temperature: float
) -> Distilled:
    """`student`: its hidden states [N, H] and its head's weight [V, H]; `labels` int64 [N]."""
    hidden, weight = student
    chunk = max(1, LOSS_CHUNK_ELEMENTS[hidden.is_cuda] // (_COPIES * weight.shape[0]))
    exact = torch.promote_types(hidden.dtype, torch.float32)
    sums = [hidden.new_zeros((), dtype=exact) for _ in Distilled._fields]
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        of_chunk: Any = checkpoint(  # logits are made again for the backward pass
            _sums_over_labels,
            (hidden[part], weight),
            (foreseen, part),
            labels[part],
            temperature,
            use_reentrant=False,
        )
        sums = [total + more for total, more in zip(sums, of_chunk, strict=True)]
    counted = (labels != IGNORED).sum().clamp(min=1)
    return Distilled(*(total / counted for total in sums))


def _sums_over_labels(
    student: tuple[Tensor, Tensor], of_teacher: tuple[Foreseen, slice], labels: Tensor, temperature: float
) -> Distilled:
    logits, (foreseen, part) = _logits(*student), of_teacher
    divergence = foreseen.divergence(part, logits, temperature)
    entropy = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return Distilled((divergence * (labels != IGNORED)).sum(), entropy)


def _on_device(top_k: TopK, *, positions: int, device: torch.device) -> Stored:
    """Of all `positions` of a pass; zeros, of which nothing is learnt, where it has none."""
    ids = torch.from_numpy(top_k.ids.astype(np.int64)).to(device)
    values, rest = (torch.tensor(part).to(device) for part in (top_k.log_probabilities, top_k.log_rest))
    if len(ids) == positions:
        return Stored(ids, values, rest)
    at = torch.from_numpy(top_k.positions).to(device)
    ids, values, rest = (
        part.new_zeros(positions, *part.shape[1:]).index_copy_(0, at, part) for part in (ids, values, rest)
    )
    return Stored(ids, values, rest)


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    product = F.linear(hidden, weight)
    return product.to(torch.promote_types(product.dtype, torch.float32))
