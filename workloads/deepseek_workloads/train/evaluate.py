"""The loss on held-out text, in nats a token and bits a byte, beside what token frequencies alone achieve.

It knows the model and the held-out split, not when it is asked.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.held_out import HeldOutBatch, baseline, held_out_batches
from deepseek_workloads.model.head import IGNORED
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.train.group import Group
from deepseek_workloads.train.parallelise import ParallelModel


@torch.no_grad()
def evaluate(
    model: ParallelModel,
    group: Group,
    *,
    plan: SamplePlan,
    stores: Sequence[ObjectStore],
    micro_batch_size: int,
    max_samples: int,
) -> dict[str, float]:
    """A collective. Empty when the sources have no held-out text. Raises the StoreErrors of reading."""
    model.module.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=group.device)  # nats, tokens
    batches = held_out_batches(
        plan,
        stores,
        rank=model.layout.data_rank(group.rank),
        world_size=model.layout.data,
        micro_batch_size=micro_batch_size,
        max_samples=max_samples,
    )
    for batch in batches:
        ids = batch.input_ids.to(group.device)
        with model.compute(group.device):
            loss = model.loss(ids[:, :-1], _labels(ids, batch))
        tokens = batch.valid_rows * (ids.shape[1] - 1)
        sums += torch.stack([loss.double() * tokens, sums.new_tensor(tokens)])
    model.release()
    nats, tokens_seen = group.sum(sums).tolist()
    if not tokens_seen:
        return {}
    return _figures(nats / tokens_seen, plan, max_samples=max_samples)


def _labels(ids: Tensor, batch: HeldOutBatch) -> Tensor:
    """int64 [b, T]; repeated rows are there for the shape only."""
    labels = ids[:, 1:].clone()
    labels[batch.valid_rows :] = IGNORED
    return labels


def _figures(loss: float, plan: SamplePlan, *, max_samples: int) -> dict[str, float]:
    figures = {"held_out_loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # e**709 is the last float
    beside = baseline(plan, max_samples=max_samples)
    if beside is not None:
        figures["held_out_bits_per_byte"] = beside.bits_per_byte(loss)
        figures["unigram_bits_per_byte"] = beside.unigram_bits_per_byte
    return figures
