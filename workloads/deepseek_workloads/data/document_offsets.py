"""Where the documents of a source begin: the offset files beside its shards, read and verified."""

from collections.abc import Sequence

import numpy as np

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.shard_files import read_verified
from deepseek_workloads.data.windows import Offsets
from deepseek_workloads.store.interface import ObjectStore


def read_document_starts(store: ObjectStore, shards: Sequence[Shard]) -> Offsets:
    """int64 [documents + 1]: starts in the line of all shards' tokens, and its end.

    Raises ObjectChanged where a file is not what the manifest names, and the StoreErrors of reading.
    """
    files = [(shard.document_offsets_key, shard.document_offsets_checksum) for shard in shards]
    starts, origin = [], 0
    for shard, content in zip(shards, read_verified(store, files), strict=True):
        starts.append(np.frombuffer(content, dtype="<u8").astype(np.int64) + origin)
        origin += shard.tokens
    return np.concatenate([*starts, np.array([origin], dtype=np.int64)])
