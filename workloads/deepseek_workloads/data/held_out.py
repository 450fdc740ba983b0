"""The held-out samples of a plan: which windows are evaluated, on which rank, beside which baseline.

It does not know the model: it yields token ids and says how many rows of a batch count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deepseek_workloads.contract.records import SplitStatistics
from deepseek_workloads.data.blocks import TokenReader
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.image_readers import image_readers
from deepseek_workloads.data.length_buckets import padded_length
from deepseek_workloads.data.rows import Rows, build_rows
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.store.interface import ObjectStore


@dataclass(frozen=True)
class HeldOutBatch:
    """Every rank gets the same number of batches of the same shape, as collectives need it: rows from
    `valid_rows` on repeat a sample and must not count."""

    rows: Rows
    sources: list[int]  # b
    valid_rows: int

    @property
    def input_ids(self) -> torch.Tensor:
        """int64 [b, T+1]"""
        return self.rows.input_ids


@dataclass(frozen=True)
class HeldOutSample:
    source: int
    window: int


@dataclass(frozen=True)
class Baseline:
    """What a model that knows only the frequencies of tokens needs, on the same mixture of held-out text."""

    unigram_bits_per_byte: float | None  # None: nobody has counted
    tokens_per_byte: float  # turns bits a token into bits a byte

    def bits_per_byte(self, nats_per_token: float) -> float:
        return nats_per_token / float(np.log(2)) * self.tokens_per_byte


def held_out_samples(plan: SamplePlan, *, max_samples: int) -> list[HeldOutSample]:
    """Evenly spread over each source's held-out windows; the sources share `max_samples` by weight."""
    windows = [of_source.count for of_source in plan.held_out_windows]
    quotas = _quotas(windows, weights=[source.weight for source in plan.data.sources], total=max_samples)
    return [
        HeldOutSample(source, number * windows[source] // quota)
        for source, quota in enumerate(quotas)
        for number in range(quota)
    ]


def held_out_batches(
    plan: SamplePlan,
    stores: Sequence[ObjectStore],
    *,
    rank: int,
    world_size: int,
    micro_batch_size: int,
    max_samples: int,
) -> Iterator[HeldOutBatch]:
    """The rank's part of the held-out samples, the same at every evaluation; none when there are none."""
    samples = held_out_samples(plan, max_samples=max_samples)
    readers = [
        TokenReader(store, TokenSpace(manifest.held_out))
        for store, manifest in zip(stores, plan.manifests, strict=True)
    ]
    image_readers_of = image_readers(plan, stores, held_out=True)
    stride = world_size * micro_batch_size
    for start in range(0, len(samples), stride):
        part = samples[start + rank * micro_batch_size :][:micro_batch_size]
        chosen = part + [samples[0]] * (micro_batch_size - len(part))
        windows = [(plan.held_out_windows[sample.source], sample.window) for sample in chosen]
        tokens = [
            readers[sample.source].read(*of_source.bounds(window))
            for sample, (of_source, window) in zip(chosen, windows, strict=True)
        ]
        yield HeldOutBatch(
            rows=build_rows(
                tokens,
                windows,
                sequence_length=_row_length(plan, samples[start : start + stride]),
                separate=plan.bucketed is not None,
                images=[
                    reader.read([of_source.bounds(window)])[0] if reader is not None else []
                    for reader, (of_source, window) in zip(
                        (image_readers_of[sample.source] for sample in chosen), windows, strict=True
                    )
                ],
                image_shape=plan.image_shape,
            ),
            sources=[sample.source for sample in chosen],
            valid_rows=len(part),
        )


def _row_length(plan: SamplePlan, samples: Sequence[HeldOutSample]) -> int:
    """The same on all ranks, whose samples these are."""
    if plan.bucketed is None:
        return plan.sequence_length
    bounds = [plan.held_out_windows[sample.source].bounds(sample.window) for sample in samples]
    return padded_length(max(end - start - 1 for start, end in bounds), most=plan.sequence_length)


def baseline(plan: SamplePlan, *, max_samples: int) -> Baseline | None:
    """Over the sources as `held_out_samples` mixes them; None where no source has held-out text."""
    counts = [0] * len(plan.manifests)
    for sample in held_out_samples(plan, max_samples=max_samples):
        counts[sample.source] += 1
    held_out = [manifest.statistics.get("heldOut", SplitStatistics()) for manifest in plan.manifests]
    parts = [
        (count * size / tokens, count, split.unigram_bits_per_byte)
        for count, split in zip(counts, held_out, strict=True)
        for tokens, size in [_measured(split, answers_only=plan.packed)]
        if count and tokens and size
    ]
    if not parts:
        return None
    size = sum(part[0] for part in parts)  # proportional to bytes of text
    counted = [(part, unigram) for part, _, unigram in parts if unigram is not None]
    return Baseline(
        unigram_bits_per_byte=(
            sum(part * unigram for part, unigram in counted) / size if len(counted) == len(parts) else None
        ),
        tokens_per_byte=sum(part[1] for part in parts) / size,
    )


def _measured(split: SplitStatistics, *, answers_only: bool) -> tuple[int, int]:
    """(tokens, bytes) of what the loss is a mean over."""
    if answers_only:
        return split.predicted_tokens or 0, split.predicted_bytes or 0
    return split.tokens, split.bytes


def _quotas(windows: Sequence[int], *, weights: Sequence[float], total: int) -> list[int]:
    """Shares of `total` by weight, none above the windows there are; what one leaves goes to the others."""
    quotas = [0] * len(windows)
    for _ in range(min(total, sum(windows))):
        open_sources = [index for index, count in enumerate(windows) if quotas[index] < count]
        neediest = min(open_sources, key=lambda index: ((quotas[index] + 1) / weights[index], index))
        quotas[neediest] += 1
    return quotas
