"""Where documents begin within the tokens that are read: a few of a dataset's offset files at a time.

`document_offsets` reads all of them, which a run over running text never needs. It does not know windows.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.cursor import SamplePlan
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.shard_files import read_verified
from deepseek_workloads.data.source_windows import SourceWindows
from deepseek_workloads.data.token_space import TokenSpace
from deepseek_workloads.data.windows import Offsets
from deepseek_workloads.store.interface import ObjectStore

OFFSET_BYTES: Final = 8  # of each document
_KEPT: Final = 4  # files: neighbouring blocks are of one shard


class DocumentBorders:
    """Of one source. Several threads may read."""

    def __init__(self, store: ObjectStore, space: TokenSpace) -> None:
        self._store, self._space = store, space
        self._kept: OrderedDict[str, Offsets] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, start: int, end: int) -> Offsets:
        """int64, rising: those of tokens start..end that a document begins with, counted from `start`.

        Raises ObjectChanged where a file is not what the manifest names, DatasetError where it is no index of
        the shard's documents, and the StoreErrors of reading.
        """
        found, read = [], 0
        for segment in self._space.segments(start, end):
            starts = self._of_shard(self._space.shards[segment.shard])
            first, after = np.searchsorted(starts, [segment.start, segment.end])
            found.append(starts[first:after] - segment.start + read)
            read += segment.end - segment.start
        return np.concatenate([np.empty(0, dtype=np.int64), *found])

    def _of_shard(self, shard: Shard) -> Offsets:
        key = shard.document_offsets_key
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        [content] = read_verified(self._store, [(key, shard.document_offsets_checksum)])
        if len(content) != shard.documents * OFFSET_BYTES:
            raise DatasetError(f"{self._store.uri}: {_no_index(shard, len(content))}")
        starts = np.frombuffer(content, dtype="<u8").astype(np.int64)
        with self._lock:
            self._kept[key] = starts
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return starts


def document_borders(
    plan: SamplePlan, stores: Sequence[ObjectStore], *, held_out: bool
) -> list[DocumentBorders | None]:
    """One for each source, in its order; None: nothing is masked, or windows know their documents."""
    if not plan.data.document_mask or plan.packed:
        return [None] * len(stores)
    shards = (manifest.held_out if held_out else manifest.train for manifest in plan.manifests)
    return [
        DocumentBorders(store, TokenSpace(of_source)) for store, of_source in zip(stores, shards, strict=True)
    ]


def window_starts(source: SourceWindows, window: int, starts: Offsets | None) -> Offsets | None:
    """Of those of its block, the ones of a window, counted from its first token."""
    if starts is None:
        return None
    start, end = source.within_block(window)
    first, after = np.searchsorted(starts, [start, end])
    return starts[first:after] - start


def check_document_index(store: ObjectStore, shards: Sequence[Shard]) -> None:
    """Whether the offset files are there, by one listing for each folder. Raises DatasetError."""
    sizes = {
        info.key: info.size
        for folder in sorted({shard.document_offsets_key.rpartition("/")[0] for shard in shards})
        for info in store.list(f"{folder}/")
    }
    for shard in shards:
        size = sizes.get(shard.document_offsets_key)
        if size != shard.documents * OFFSET_BYTES:
            raise DatasetError(f"{store.uri}: {_no_index(shard, size)}", reasons.OBJECT_NOT_FOUND)


def _no_index(shard: Shard, size: int | None) -> str:
    wanted = shard.documents * OFFSET_BYTES
    short = f"has {size} bytes, for {shard.documents} documents {wanted}"
    found = "does not exist" if size is None else short
    return (
        f"{shard.document_offsets_key}: {found}: spec.data.documentMask needs this index of where documents "
        "begin: restore it, prepare the dataset again under a fresh URI, or leave documentMask away"
    )
