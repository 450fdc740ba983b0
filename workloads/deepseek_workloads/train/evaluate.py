"""The loss on held-out text, in nats a token and bits a byte, beside what token frequencies alone achieve.

It knows the model and the held-out split, not when it is asked.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.held_out import HeldOutBatch, HeldOutReader, baseline
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.plan.memory import LOSS_CHUNK_ELEMENTS
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.images import images_of
from deepseek_workloads.train.parallelise import ParallelModel


@torch.no_grad()
def evaluate(
    model: ParallelModel,
    group: Group,
    *,
    held_out: HeldOutReader,
    micro_batch_size: int,
    max_samples: int,
) -> dict[str, float]:
    """A collective. Empty when the sources have no held-out text. Raises the StoreErrors of reading."""
    model.module.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=group.device)  # nats, tokens, of which are foreseen
    batches = held_out.batches(
        rank=model.layout.data_rank(group.rank),
        world_size=model.layout.data,
        micro_batch_size=micro_batch_size,
        max_samples=max_samples,
    )
    for batch in batches:
        ids, labels = batch.input_ids.to(group.device), _labels(batch).to(group.device)
        with (
            model.compute(group.device),
            model.plain.documents.within(batch.rows.documents_of_inputs, device=group.device),
            model.plain.images.within(images_of(batch.rows, group.device)),
            _inputs_of(model.plain.lm_head) as read,
        ):
            loss = model.loss(ids[:, :-1], labels)
            foreseen = _foreseen(model, read, labels)
        tokens = (labels != IGNORED).sum().double()
        sums += torch.stack([loss.double() * tokens, tokens, foreseen.double()])
    model.release()
    nats, tokens_seen, right = group.sum(sums).tolist()
    if not tokens_seen:
        return {}
    figures = _figures(nats / tokens_seen, held_out.plan, max_samples=max_samples)
    return {**figures, "accuracy": right / tokens_seen}


@contextmanager
def _inputs_of(head: nn.Module) -> Iterator[list[Tensor]]:
    """What the head is called with, in turn: the model's last hidden states first."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def _foreseen(model: ParallelModel, read: Sequence[Tensor], labels: Tensor) -> Tensor:
    """How many labels that count are the most probable token, as a mean over the ranks that share the batch.
    `read`: what the head was called with on this rank, first [b, T, H], or of this rank's positions; nothing
    where another has the last stage of a pipeline. Logits a chunk each, by the head's own way, which may see
    other weights than it has. Raises RuntimeError where nobody else has the head."""
    right = labels.new_zeros(())
    if not read and model.pipeline is not None:
        return right
    if not read:
        raise RuntimeError(
            f"{type(model.plain).__name__}: its loss was computed without a call of its lm_head, of which "
            "the accuracy is: call the module, not a method of it"
        )
    if model.context is not None:
        labels = labels[:, model.context.own_positions(labels.shape[1], labels.device)]
    rows, expected = read[0].flatten(0, 1), labels.flatten()
    chunk = max(1, LOSS_CHUNK_ELEMENTS[rows.is_cuda] // model.plain.architecture.vocab_size)
    for start in range(0, len(expected), chunk):
        best = model.plain.lm_head(rows[start : start + chunk]).argmax(-1)
        right += (best == expected[start : start + chunk]).sum()
    return right * (model.layout.context * model.layout.pipeline)


def _labels(batch: HeldOutBatch) -> Tensor:
    """int64 [b, T]; repeated rows are there for the shape only."""
    labels = batch.rows.labels.clone()
    labels[batch.valid_rows :] = IGNORED
    return labels


def _figures(loss: float, plan: SamplePlan, *, max_samples: int) -> dict[str, float]:
    figures = {"held_out_loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # e**709 is the last float
    beside = baseline(plan, max_samples=max_samples)
    if beside is not None:
        figures["held_out_bits_per_byte"] = beside.bits_per_byte(loss)
        if beside.unigram_bits_per_byte is not None:
            figures["unigram_bits_per_byte"] = beside.unigram_bits_per_byte
    return figures
