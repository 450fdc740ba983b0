"""Writes the images of a shard: their bytes in the order of their places, and an index with checksums."""

from collections.abc import Sequence

import numpy as np

from deepseek_workloads.contract.records import ImageColumn
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.images import INDEX_ROW, PlacedImage, image_checksum
from deepseek_workloads.store.interface import ObjectStore


def write_images(store: ObjectStore, key: str, images: Sequence[PlacedImage]) -> ImageColumn:
    """`column` of each is its offset in the shard, rising. `key`: the shard's, without an ending."""
    rows = [(image.column, image_checksum(image.content)) for image in images]
    index = np.array(rows, dtype=INDEX_ROW).tobytes()
    content = b"".join(image.content for image in images)
    store.put(f"{key}.images", content)
    store.put(f"{key}.images-index", index)
    return ImageColumn(
        key=f"{key}.images",
        images=len(images),
        size=len(content),
        index_key=f"{key}.images-index",
        index_checksum=object_checksum(index),
    )
