"""The images of a source: where they stand in its line of tokens, and their bytes, read and verified.

It does not know the order of samples, nor what the bytes mean (`contract.records.ImageFormat`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.store.interface import ByteRange, ObjectChanged, ObjectStore

INDEX_ROW = np.dtype([("offset", "<u8"), ("checksum", "<u8")])  # of a shard's index file


@dataclass(frozen=True)
class PlacedImage:
    column: int  # of its first placeholder token in the window
    content: bytes


@dataclass(frozen=True)
class ImageIndex:
    """Of N images in the order of their places."""

    offsets: npt.NDArray[np.int64]  # [N], rising: tokens in the line of all shards
    checksums: npt.NDArray[np.uint64]  # [N]
    first_of_shard: npt.NDArray[np.int64]  # [shards + 1], the number of the first image of each, and N


def image_checksum(content: bytes | memoryview) -> int:
    return xxhash.xxh3_64_intdigest(content)


def read_image_index(store: ObjectStore, shards: Sequence[Shard]) -> ImageIndex:
    """Raises ObjectChanged where a file is not what the manifest names, and the StoreErrors of reading."""
    parts, origins, counts, origin = [np.empty(0, dtype=INDEX_ROW)], [np.empty(0, dtype=np.int64)], [0], 0
    for shard in shards:
        rows = _of_shard(store, shard)
        parts.append(rows)
        origins.append(np.full(len(rows), origin))
        counts.append(len(rows))
        origin += shard.tokens
    index = np.concatenate(parts)
    return ImageIndex(
        offsets=index["offset"].astype(np.int64) + np.concatenate(origins),
        checksums=index["checksum"].astype(np.uint64),
        first_of_shard=np.cumsum(counts),
    )


def _of_shard(store: ObjectStore, shard: Shard) -> npt.NDArray[np.void]:
    if shard.images is None:
        return np.empty(0, dtype=INDEX_ROW)
    content = store.read(shard.images.index_key)
    if object_checksum(content) != shard.images.index_checksum:
        raise ObjectChanged(
            f"{store.uri}: {shard.images.index_key}: its checksum is not the manifest's: restore it, or "
            "prepare the dataset again"
        )
    return np.frombuffer(content, dtype=INDEX_ROW)


class ImageReader:
    """Reads images of one source; each is held against its own checksum."""

    def __init__(
        self, store: ObjectStore, shards: Sequence[Shard], index: ImageIndex, *, image_bytes: int
    ) -> None:
        self._store, self._shards, self._index, self._size = store, tuple(shards), index, image_bytes

    def read(self, windows: Sequence[tuple[int, int]]) -> list[list[PlacedImage]]:
        """Of each window, tokens start..end of the source, the images that begin in it. Raises ObjectChanged
        when one is not what the index says, twice, and what the store raises."""
        offsets = self._index.offsets
        numbers = [range(*np.searchsorted(offsets, window).tolist()) for window in windows]
        wanted = [number for of_window in numbers for number in of_window]
        contents = dict(zip(wanted, self._verified(wanted), strict=True))
        return [
            [PlacedImage(int(offsets[number]) - start, contents[number]) for number in of_window]
            for of_window, (start, _) in zip(numbers, windows, strict=True)
        ]

    def _verified(self, numbers: Sequence[int]) -> list[bytes]:
        contents = self._store.read_ranges([self._range(number) for number in numbers])
        bad = [place for place, number in enumerate(numbers) if not self._is(number, contents[place])]
        again = self._store.read_ranges([self._range(numbers[place]) for place in bad])
        for place, content in zip(bad, again, strict=True):
            if not self._is(numbers[place], content):
                raise ObjectChanged(
                    f"{self._store.uri}: {self._range(numbers[place]).key}: image {numbers[place]} of the "
                    "split: its checksum is not the index's, twice; restore the file or prepare the dataset "
                    "again"
                )
            contents[place] = content
        return contents

    def _is(self, number: int, content: bytes) -> bool:
        return len(content) == self._size and image_checksum(content) == int(self._index.checksums[number])

    def _range(self, number: int) -> ByteRange:
        shard = int(np.searchsorted(self._index.first_of_shard, number, side="right")) - 1
        column = self._shards[shard].images
        assert column is not None
        first = (number - int(self._index.first_of_shard[shard])) * self._size
        return ByteRange(column.key, first, first + self._size)
