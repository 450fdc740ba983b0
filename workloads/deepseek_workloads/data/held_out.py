"""The held-out samples of a plan: which windows are evaluated, on which rank, beside which baseline.

It does not know the model: it yields token ids and says how many rows of a batch count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import torch

from deepseek_workloads.contract.records import SplitStatistics
from deepseek_workloads.data.blocks import TokenReader, Tokens
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.disk_cache import DiskCache
from deepseek_workloads.data.document_borders import document_borders
from deepseek_workloads.data.image_readers import image_readers
from deepseek_workloads.data.images import PlacedImage
from deepseek_workloads.data.length_buckets import padded_length
from deepseek_workloads.data.rows import Rows, build_rows
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.data.windows import Offsets
from deepseek_workloads.store.interface import ObjectStore

READ_TOGETHER: Final = 32  # windows: their chunks are in memory at once, 1 MiB each or less
KEPT_BYTES: Final = 64 * 1024**2


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

    unigram_bits_per_byte: float | None  # None: not counted, or of answers only
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


class HeldOutReader:
    """Reads windows many at a time, and keeps their tokens for the next evaluation."""

    def __init__(
        self,
        plan: SamplePlan,
        stores: Sequence[ObjectStore],
        *,
        disk: DiskCache | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """`disk`: keeps chunks for the other processes of the node. Images are not kept."""
        self.plan = plan
        self._readers = [
            TokenReader(store, TokenSpace(manifest.held_out), disk)
            for store, manifest in zip(stores, plan.manifests, strict=True)
        ]
        self._borders = document_borders(plan, stores, held_out=True)
        self._images = image_readers(plan, stores, held_out=True)
        # The first ones stay: evaluations come in the same order, so the last used would be needed last.
        self._kept: dict[HeldOutSample, Tokens] = {}
        self._free_bytes = kept_bytes

    def batches(
        self, *, rank: int, world_size: int, micro_batch_size: int, max_samples: int
    ) -> Iterator[HeldOutBatch]:
        """The rank's part of the held-out samples, the same at every evaluation; none when there are none.
        Raises the StoreErrors of reading."""
        samples = held_out_samples(self.plan, max_samples=max_samples)
        stride = world_size * micro_batch_size
        of_all = [samples[start : start + stride] for start in range(0, len(samples), stride)]
        together = max(1, READ_TOGETHER // micro_batch_size)
        for first in range(0, len(of_all), together):
            now = of_all[first : first + together]
            parts = [of_ranks[rank * micro_batch_size :][:micro_batch_size] for of_ranks in now]
            # A row that another rank has, too, where there are too few: none is longer than theirs.
            wanted = list(dict.fromkeys([*chain(*parts), *(of_ranks[0] for of_ranks in now)]))
            tokens, images = self._tokens(wanted), self._images_of(wanted)
            for of_ranks, part in zip(now, parts, strict=True):
                filled = part + of_ranks[:1] * (micro_batch_size - len(part))
                rows = self._rows(filled, tokens, images, length=_row_length(self.plan, of_ranks))
                yield HeldOutBatch(rows, [sample.source for sample in filled], len(part))

    def _rows(
        self,
        samples: Sequence[HeldOutSample],
        tokens: Mapping[HeldOutSample, Tokens],
        images: Mapping[HeldOutSample, list[PlacedImage]],
        *,
        length: int,
    ) -> Rows:
        return build_rows(
            [tokens[sample] for sample in samples],
            [(self.plan.held_out_windows[sample.source], sample.window) for sample in samples],
            sequence_length=length,
            separate=self.plan.bucketed is not None,
            images=[images.get(sample, []) for sample in samples],
            image_shape=self.plan.image_shape,
            document_starts=[self._document_starts(sample) for sample in samples],
        )

    def _document_starts(self, sample: HeldOutSample) -> Offsets | None:
        borders = self._borders[sample.source]
        return borders.read(*self._bounds([sample])[0]) if borders is not None else None

    def _tokens(self, samples: Sequence[HeldOutSample]) -> dict[HeldOutSample, Tokens]:
        found = {sample: self._kept[sample] for sample in samples if sample in self._kept}
        for source, reader in enumerate(self._readers):
            missing = [sample for sample in samples if sample.source == source and sample not in found]
            read = reader.read_many(self._bounds(missing)) if missing else []
            for sample, tokens in zip(missing, read, strict=True):
                found[sample] = tokens
                if tokens.nbytes <= self._free_bytes:
                    self._free_bytes -= tokens.nbytes
                    self._kept[sample] = tokens
        return found

    def _images_of(self, samples: Sequence[HeldOutSample]) -> dict[HeldOutSample, list[PlacedImage]]:
        found: dict[HeldOutSample, list[PlacedImage]] = {}
        for source, reader in enumerate(self._images):
            wanted = [sample for sample in samples if sample.source == source]
            if reader is not None and wanted:
                found |= zip(wanted, reader.read(self._bounds(wanted)), strict=True)
        return found

    def _bounds(self, samples: Sequence[HeldOutSample]) -> list[tuple[int, int]]:
        windows = self.plan.held_out_windows
        return [windows[sample.source].bounds(sample.window) for sample in samples]


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
        (count * size / tokens, count, None if plan.packed else split.unigram_bits_per_byte)
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
