"""Blocks of token ids: read in one large range, verified chunk by chunk, kept within a bound of memory.

It does not know the order of samples or ranks.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.checksum import chunk_checksum
from deepseek_workloads.data.disk_cache import DiskCache
from deepseek_workloads.data.manifest import token_bytes
from deepseek_workloads.data.token_space import Segment, TokenSpace
from deepseek_workloads.data.windows import Offsets
from deepseek_workloads.store.interface import (
    ByteRange,
    ObjectChanged,
    ObjectInfo,
    ObjectStore,
)

Tokens = npt.NDArray[np.unsignedinteger[Any]]  # uint16 or uint32, as the shards hold them
_PINNED_TOGETHER = 16  # shards
_log = logging.getLogger(__name__)


class TokenReader:
    """Reads tokens of one source. Shards are pinned by their ETag from the first read on."""

    def __init__(self, store: ObjectStore, space: TokenSpace, disk: DiskCache | None = None) -> None:
        self._store = store
        self._space = space
        self._disk = disk
        self._etags: dict[str, str] = {}

    def read(self, start: int, end: int) -> Tokens:
        """Tokens start..end of the source, in the dtype of its shards; every chunk read was verified.

        Raises ObjectChanged when a shard is not what the manifest names, and what the store raises.
        """
        segments = self._space.segments(start, end)
        pieces = [
            self._tokens(segment, content)
            for segment, content in zip(segments, self._contents(segments), strict=True)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def read_many(self, bounds: Sequence[tuple[int, int]]) -> list[Tokens]:
        """As `read` of each, but together: each chunk once, however many of them lie in it."""
        of_each = [self._space.segments(start, end) for start, end in bounds]
        chunks = sorted({chunk for segments in of_each for each in segments for chunk in self._chunks(each)})
        self._pin_all({chunk.shard for chunk in chunks})
        tokens = {
            chunk: self._tokens(chunk, content)
            for chunk, content in zip(chunks, self._contents(chunks), strict=True)
        }
        return [
            np.concatenate(
                [
                    tokens[chunk][max(each.start - chunk.start, 0) : each.end - chunk.start]
                    for each in segments
                    for chunk in self._chunks(each)
                ]
            )
            for segments in of_each
        ]

    def _chunks(self, segment: Segment) -> list[Segment]:
        """The whole chunks that a segment lies in."""
        shard = self._space.shards[segment.shard]
        size = shard.chunk_tokens
        return [
            Segment(segment.shard, chunk * size, min((chunk + 1) * size, shard.tokens))
            for chunk in range(*_chunks(shard, segment))
        ]

    def _pin_all(self, numbers: Set[int]) -> None:
        """Looks at many shards side by side."""
        shards = [self._space.shards[number] for number in sorted(numbers)]
        with ThreadPoolExecutor(_PINNED_TOGETHER) as pool:
            list(pool.map(self._etag, shards))

    def _contents(self, segments: Sequence[Segment]) -> list[bytes]:
        """Whole chunks around each, verified."""
        first = self._first(segments)
        ranges = [self._range(segment) for segment in segments]
        kept = [
            first.get(segment) or self._kept(segment, asked)
            for segment, asked in zip(segments, ranges, strict=True)
        ]
        missing = [place for place, content in enumerate(kept) if content is None]
        read = self._store.read_ranges([ranges[place] for place in missing]) if missing else []
        for place, content in zip(missing, read, strict=True):
            kept[place] = self._verified(segments[place], content)
            if self._disk is not None:
                self._disk.put(self._store.uri, ranges[place], kept[place] or b"")
        return [content or b"" for content in kept]

    def _first(self, segments: Sequence[Segment]) -> dict[Segment, bytes]:
        """Those of shards that are read for the first time: their ETag comes with it and needs no request of
        its own. Not of those that a disk may have by their ETag, nor what came damaged."""
        new = [each for each in segments if self._space.shards[each.shard].key not in self._etags]
        if not new or self._disk is not None:
            return {}
        found = {}
        read = self._store.read_with_info([self._bytes(segment) for segment in new])
        for segment, (content, info) in zip(new, read, strict=True):
            shard = self._space.shards[segment.shard]
            self._pin(shard, info)
            if _bad_chunk(shard, segment, content) is None:
                found[segment] = content
        return found

    def _kept(self, segment: Segment, asked: ByteRange) -> bytes | None:
        """From the disk, where it is there and sound."""
        content = self._disk.get(self._store.uri, asked) if self._disk is not None else None
        if content is None or _bad_chunk(self._space.shards[segment.shard], segment, content) is not None:
            return None
        return content

    def _range(self, segment: Segment) -> ByteRange:
        """Of the pinned shard."""
        return replace(self._bytes(segment), etag=self._etag(self._space.shards[segment.shard]))

    def _etag(self, shard: Shard) -> str:
        if shard.key not in self._etags:
            self._pin(shard, self._store.stat(shard.key))
        return self._etags[shard.key]

    def _bytes(self, segment: Segment) -> ByteRange:
        """Whole chunks around a segment: a part of a chunk cannot be verified."""
        shard = self._space.shards[segment.shard]
        first, last = _chunks(shard, segment)
        width = token_bytes(shard) * shard.chunk_tokens
        return ByteRange(shard.key, first * width, min(last * width, shard.size))

    def _pin(self, shard: Shard, info: ObjectInfo) -> None:
        if info.size != shard.size:
            raise ObjectChanged(
                f"{self._store.uri}: shard {shard.key}: {info.size} bytes: the manifest says "
                f"{shard.size}; restore the shard or prepare the dataset again"
            )
        pinned = self._etags.setdefault(shard.key, info.etag)
        if info.etag != pinned:
            raise ObjectChanged(
                f"{self._store.uri}: shard {shard.key}: its ETag is {info.etag}, not {pinned}: it was "
                "overwritten; restore the shard or prepare the dataset again"
            )

    def _verified(self, segment: Segment, content: bytes) -> bytes:
        shard = self._space.shards[segment.shard]
        bad = _bad_chunk(shard, segment, content)
        if bad is not None:
            _log.warning(
                "shard %s: chunk %d has another checksum than the manifest's: reading again", shard.key, bad
            )
            content = self._store.read_ranges([self._range(segment)])[0]
            bad = _bad_chunk(shard, segment, content)
        if bad is not None:
            raise ObjectChanged(
                f"{self._store.uri}: shard {shard.key}: chunk {bad}: its checksum is not the manifest's, "
                "twice; restore the shard or prepare the dataset again"
            )
        return content

    def _tokens(self, segment: Segment, content: bytes) -> Tokens:
        shard = self._space.shards[segment.shard]
        tokens = np.frombuffer(content, dtype=np.dtype(shard.dtype).newbyteorder("<"))
        skipped = _chunks(shard, segment)[0] * shard.chunk_tokens
        return tokens[segment.start - skipped : segment.end - skipped]


def _chunks(shard: Shard, segment: Segment) -> tuple[int, int]:
    return segment.start // shard.chunk_tokens, -(-segment.end // shard.chunk_tokens)


def _bad_chunk(shard: Shard, segment: Segment, content: bytes) -> int | None:
    first, last = _chunks(shard, segment)
    width = token_bytes(shard) * shard.chunk_tokens
    view = memoryview(content)
    for chunk in range(first, last):
        piece = view[(chunk - first) * width : (chunk - first + 1) * width]
        if chunk_checksum(piece) != shard.chunk_checksums[chunk]:
            return chunk
    return None


@dataclass(frozen=True)
class Block:
    tokens: Tokens
    document_starts: Offsets | None = None  # rising, counted from its first token; None: nobody asked

    @property
    def nbytes(self) -> int:
        """Of the tokens; where documents begin takes a hundredth of it."""
        return self.tokens.nbytes


class BlockCache:
    """Blocks by key, loaded in the background, the longest unused given up first."""

    def __init__(self, load: Callable[[Hashable], Block], *, capacity_bytes: int, threads: int) -> None:
        self._load = load
        self._capacity_bytes = capacity_bytes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="data-block")
        self._blocks: OrderedDict[Hashable, Future[Block]] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}  # of those that are loaded, bytes
        self._lock = threading.RLock()

    def request(self, keys: Iterable[Hashable]) -> None:
        """Begin to load what is not there; does not wait."""
        with self._lock:
            for key in keys:
                if key not in self._blocks:
                    self._blocks[key] = self._pool.submit(self._load_counted, key)
                self._blocks.move_to_end(key)

    def get(self, key: Hashable) -> Block:
        """Waits for the block. Raises what its load raised; a later call loads anew."""
        self.request([key])
        with self._lock:
            future = self._blocks[key]
        try:
            block = future.result()
        except BaseException:
            self.forget([key])
            raise
        self._evict(keep=key)
        return block

    def forget(self, keys: Iterable[Hashable]) -> None:
        """They are not needed; what is still on its way is not kept either."""
        with self._lock:
            for key in keys:
                future = self._blocks.pop(key, None)
                self._sizes.pop(key, None)
                if future is not None:
                    future.cancel()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._blocks.clear()
        self._sizes.clear()

    def _load_counted(self, key: Hashable) -> Block:
        block = self._load(key)
        with self._lock:
            if key in self._blocks:
                self._sizes[key] = block.nbytes
        return block

    def _evict(self, *, keep: Hashable) -> None:
        with self._lock:
            excess = sum(self._sizes.values()) - self._capacity_bytes
            if excess <= 0:
                return
            for key in [key for key in self._blocks if key in self._sizes and key != keep]:
                if excess <= 0:
                    return
                excess -= self._sizes[key]
                self.forget([key])
