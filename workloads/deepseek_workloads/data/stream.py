"""From the order of samples to batches of token ids: each rank's slice of every global batch, read ahead.

Shapes: b sequences of a micro-batch, T = sequence_length. It does not know the model or how ranks talk.
"""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np
import torch

from deepseek_workloads.data.blocks import Block, BlockCache, TokenReader, Tokens
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.disk_cache import DiskCache
from deepseek_workloads.data.document_borders import document_borders, window_starts
from deepseek_workloads.data.image_readers import image_readers
from deepseek_workloads.data.images import PlacedImage
from deepseek_workloads.data.latency import Latency
from deepseek_workloads.data.prefetch import Prefetcher
from deepseek_workloads.data.read_ahead import ReadAhead, groups_in_use
from deepseek_workloads.data.rows import Rows, build_rows
from deepseek_workloads.data.samples import Samples
from deepseek_workloads.data.source_windows import SourceWindows
from deepseek_workloads.data.top_k import TopK
from deepseek_workloads.data.top_k_reader import TopKReader
from deepseek_workloads.data.window_order import GROUP_BLOCKS
from deepseek_workloads.store.interface import ObjectStore

_LOCATED_TOGETHER = 512  # samples


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one rank. Inputs are columns 0..T-1 of the rows, targets columns 1..T."""

    rows: Rows
    sample_ids: list[int]  # b; the content's names: see `cursor.Sample`
    first_sample: int  # global index of row 0; the rows that follow are the next indices
    last_of_step: bool  # the rank's last micro-batch of a global batch
    step_tokens: int = 0  # of the global batch, over all ranks, without what pads single documents
    top_k: TopK | None = None  # of the rows, where what a teacher foresees was stored

    @property
    def input_ids(self) -> torch.Tensor:
        """int64 [b, T+1]"""
        return self.rows.input_ids


@dataclass(frozen=True)
class RankSlice:
    """Which global samples a rank sees, and in what micro-batches."""

    rank: int
    world_size: int
    global_batch_size: int  # sequences
    micro_batch_size: int  # sequences

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank}: must be in 0..{self.world_size - 1}")
        if self.global_batch_size % self.world_size:
            raise ValueError(
                f"globalBatchSize {self.global_batch_size}: must be divisible by the {self.world_size} ranks"
            )
        if self.micro_batch_size < 1:
            raise ValueError(f"microBatchSize {self.micro_batch_size}: must be 1 or more")

    @property
    def samples_per_step(self) -> int:
        return self.global_batch_size // self.world_size

    @property
    def micro_batches_per_step(self) -> int:
        return -(-self.samples_per_step // self.micro_batch_size)

    def micro_batches(self, start_sample: int) -> Iterator[tuple[range, bool]]:
        """Global sample indices of each micro-batch, and whether it is a step's last. Endless."""
        step_start = start_sample
        while True:
            first = step_start + self.rank * self.samples_per_step
            end = first + self.samples_per_step
            for begin in range(first, end, self.micro_batch_size):
                stop = min(begin + self.micro_batch_size, end)
                yield range(begin, stop), stop == end
            step_start += self.global_batch_size


@dataclass(frozen=True)
class _Located:
    samples: Samples
    first_sample: int
    last_of_step: bool
    row_length: int  # the same in all micro-batches of all ranks of a step
    step_tokens: int

    @property
    def keys(self) -> list[tuple[int, int]]:
        """Source and block of each sample."""
        return list(zip(self.samples.source.tolist(), self.samples.block.tolist(), strict=True))


class BatchStream:
    """An endless iterator of `Batch` from global sample `start_sample` on; any start costs the same.

    What it yields depends on the plan, the slice and the start only: not on prefetching, threads or timing.
    Close it (or use it in a `with`), as it owns threads. Raises the StoreErrors of reading from `next()`.
    """

    def __init__(
        self,
        plan: SamplePlan,
        stores: Sequence[ObjectStore],
        *,
        rank: int,
        world_size: int,
        global_batch_size: int,
        micro_batch_size: int,
        start_sample: int = 0,
        end_sample: int | None = None,
        prefetch_batches: int = 8,
        read_threads: int = 2 * GROUP_BLOCKS,
        cache_bytes: int | None = None,
        disk: DiskCache | None = None,
        top_k: TopKReader | None = None,
    ) -> None:
        """`stores`: one for each source of the plan, in its order. `end_sample`: no global batch begins at or
        after it, so that nothing is read in vain at the end of a run. `cache_bytes`: None is what the order
        needs to read each block once an epoch (at most 16 blocks a source). `disk`: keeps blocks for other
        epochs and processes. `top_k`: reads what a teacher foresees, too."""
        if len(stores) != len(plan.sources):
            raise ValueError(f"{len(stores)} stores for {len(plan.sources)} sources: one each is needed")
        self.read_latency = Latency()  # of blocks, from the store to verified tokens
        self.rank_slice = RankSlice(rank, world_size, global_batch_size, micro_batch_size)
        self._plan = plan
        self._readers = [
            TokenReader(store, source.space, disk) for store, source in zip(stores, plan.sources, strict=True)
        ]
        self._top_k = top_k
        self._borders = document_borders(plan, stores, held_out=False)
        self._images = image_readers(plan, stores, held_out=False)
        capacity = working_set_bytes(plan) if cache_bytes is None else cache_bytes
        self._cache = BlockCache(self._load, capacity_bytes=capacity, threads=read_threads)
        batches = self._batches(start_sample, end_sample=end_sample, lookahead=prefetch_batches)
        self._prefetcher = Prefetcher(batches, depth=prefetch_batches)

    @property
    def micro_batches_per_step(self) -> int:
        return self.rank_slice.micro_batches_per_step

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._prefetcher)

    def next_step(self) -> list[Batch]:
        """The rank's micro-batches of one global batch."""
        batches = [next(self)]
        while not batches[-1].last_of_step:
            batches.append(next(self))
        return batches

    def close(self) -> None:
        self._prefetcher.close()
        self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, start_sample: int, *, end_sample: int | None, lookahead: int) -> Iterator[Batch]:
        located = self._locate(start_sample, end_sample=end_sample)
        read_ahead = ReadAhead(self._plan, end_sample=end_sample)
        ahead: deque[_Located] = deque()
        for batch in islice(located, lookahead):
            ahead.append(batch)
            self._cache.request(batch.keys)
        while ahead:
            batch = ahead.popleft()
            yield self._assemble(batch)
            turn = read_ahead.after(batch.samples)
            self._cache.forget(turn.left)
            self._cache.request(turn.wanted)
            for batch in islice(located, 1):
                ahead.append(batch)
                self._cache.request(batch.keys)

    def _locate(self, start_sample: int, *, end_sample: int | None) -> Iterator[_Located]:
        """Some hundred samples are located together, which costs about as much as one."""
        batches = self._numbered(start_sample, end_sample=end_sample)
        together = max(1, _LOCATED_TOGETHER // self.rank_slice.micro_batch_size)
        of_step, shape = -1, (0, 0)
        while several := list(islice(batches, together)):
            numbers = np.concatenate([np.arange(samples.start, samples.stop) for _, samples, _ in several])
            located, first = self._plan.locate_many(numbers), 0
            for step_start, samples, last_of_step in several:
                if step_start != of_step:
                    of_step, shape = step_start, self._shape(step_start)
                part = located.part(first, first + len(samples))
                yield _Located(part, samples.start, last_of_step, *shape)
                first += len(samples)

    def _shape(self, step_start: int) -> tuple[int, int]:
        """Of a step: the length of its rows, and its tokens. Known without a word between ranks."""
        plan, size = self._plan, self.rank_slice.global_batch_size
        if plan.bucketed is None:
            return plan.sequence_length, size * plan.sequence_length
        samples = plan.locate_many(np.arange(step_start, step_start + size))
        return plan.row_length(samples), plan.tokens_of(samples)

    def _numbered(self, start_sample: int, *, end_sample: int | None) -> Iterator[tuple[int, range, bool]]:
        """The first sample of its step, samples of a micro-batch, and whether it is the step's last."""
        size = self.rank_slice.global_batch_size
        for samples, last_of_step in self.rank_slice.micro_batches(start_sample):
            step_start = start_sample + (samples.start - start_sample) // size * size
            if end_sample is not None and step_start >= end_sample:
                return
            yield step_start, samples, last_of_step

    def _assemble(self, located: _Located) -> Batch:
        keys = located.keys
        blocks = {key: self._cache.get(key) for key in sorted(set(keys))}
        sources, windows = self._plan.sources, located.samples.window.tolist()
        tokens = [
            window_tokens(sources[key[0]], window, blocks[key].tokens)
            for key, window in zip(keys, windows, strict=True)
        ]
        starts = [
            window_starts(sources[key[0]], window, blocks[key].document_starts)
            for key, window in zip(keys, windows, strict=True)
        ]
        rows = build_rows(
            tokens,
            [(sources[source].windows, window) for (source, _), window in zip(keys, windows, strict=True)],
            sequence_length=located.row_length,
            images=self._read_images(located.samples),
            image_shape=self._plan.image_shape,
            separate=self._plan.bucketed is not None,
            document_starts=starts,
        )
        return Batch(
            rows=rows,
            sample_ids=located.samples.sample_id.tolist(),
            first_sample=located.first_sample,
            last_of_step=located.last_of_step,
            step_tokens=located.step_tokens,
            top_k=self._top_k.read(located.samples, tokens, rows.counted) if self._top_k else None,
        )

    def _read_images(self, samples: Samples) -> list[list[PlacedImage]]:
        """Of each sample; none where its source has none. Not kept: an epoch needs each once."""
        placed: list[list[PlacedImage]] = [[] for _ in range(len(samples))]
        for source, reader in enumerate(self._images):
            of_source = np.flatnonzero(samples.source == source).tolist()
            if reader is None or not of_source:
                continue
            windows = self._plan.sources[source].windows
            bounds = [windows.bounds(int(samples.window[number])) for number in of_source]
            with self.read_latency.measured():
                read = reader.read(bounds)
            for number, images in zip(of_source, read, strict=True):
                placed[number] = images
        return placed

    def _load(self, key: Hashable) -> Block:
        assert isinstance(key, tuple)
        source, block = key
        start, end = self._plan.sources[source].block_tokens(block)
        borders = self._borders[source]
        with self.read_latency.measured():
            tokens = self._readers[source].read(start, end)
            return Block(tokens, borders.read(start, end) if borders is not None else None)


def window_tokens(source: SourceWindows, window: int, block: Tokens) -> Tokens:
    """The tokens of a window out of those of its block."""
    start, end = source.within_block(window)
    return block[start:end]


def working_set_bytes(plan: SamplePlan) -> int:
    """Memory for the groups of blocks of every source that are in use and the one that follows."""
    total = 0
    for source in plan.sources:
        width = max(np.dtype(shard.dtype).itemsize for shard in source.space.shards)
        blocks = min(source.order.blocks, (groups_in_use(plan, source) + 1) * GROUP_BLOCKS)
        total += blocks * source.largest_block() * width
    return total
