"""Where the documents of a source begin: the offset files beside its shards, read and verified."""

from collections.abc import Sequence

import numpy as np

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.data.windows import Offsets
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore


def read_document_starts(store: ObjectStore, shards: Sequence[Shard]) -> Offsets:
    """int64 [documents + 1]: starts in the line of all shards' tokens, and its end.

    Raises ObjectChanged where a file is not what the manifest names, and the StoreErrors of reading.
    """
    starts, origin = [], 0
    for shard in shards:
        starts.append(_of_shard(store, shard).astype(np.int64) + origin)
        origin += shard.tokens
    return np.concatenate([*starts, np.array([origin], dtype=np.int64)])


def _of_shard(store: ObjectStore, shard: Shard) -> Offsets:
    content = store.read(shard.document_offsets_key)
    if object_checksum(content) != shard.document_offsets_checksum:
        raise ObjectChanged(
            f"{store.uri}: {shard.document_offsets_key}: its checksum is not the manifest's: restore it, or "
            "prepare the dataset again"
        )
    return np.frombuffer(content, dtype="<u8").astype(np.int64)
