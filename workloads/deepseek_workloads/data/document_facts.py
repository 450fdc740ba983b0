"""What preparation found out about each document: files beside the shards, where a pipeline asks for it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore

# difficulty: from 0 to 1, NaN where it is not known. augmented: 1 of a copy that preparation made.
FACTS_DTYPE = np.dtype([("difficulty", "<f4"), ("augmented", "u1")])

Facts = npt.NDArray[np.void]


def read_document_facts(store: ObjectStore, shards: Sequence[Shard]) -> Facts:
    """FACTS_DTYPE, a row for each document in the line of all shards.

    Raises ObjectChanged where a file is not what the manifest names, and the StoreErrors of reading.
    """
    return np.concatenate([np.empty(0, dtype=FACTS_DTYPE), *(_of_shard(store, shard) for shard in shards)])


def _of_shard(store: ObjectStore, shard: Shard) -> Facts:
    if shard.facts is None:
        unknown = np.zeros(shard.documents, dtype=FACTS_DTYPE)
        unknown["difficulty"] = np.nan
        return unknown
    content = store.read(shard.facts.key)
    if object_checksum(content) != shard.facts.checksum:
        raise ObjectChanged(
            f"{store.uri}: {shard.facts.key}: its checksum is not the manifest's: restore it, or prepare the "
            "dataset again"
        )
    return np.frombuffer(content, dtype=FACTS_DTYPE)
