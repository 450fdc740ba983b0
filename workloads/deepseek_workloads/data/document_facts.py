"""What preparation found out about each document: files beside the shards, where a pipeline asks for it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.records import Shard
from deepseek_workloads.data.shard_files import read_verified
from deepseek_workloads.store.interface import ObjectStore

# difficulty: from 0 to 1, NaN where it is not known. augmented: 1 of a copy that preparation made.
FACTS_DTYPE = np.dtype([("difficulty", "<f4"), ("augmented", "u1")])

Facts = npt.NDArray[np.void]


def read_document_facts(store: ObjectStore, shards: Sequence[Shard]) -> Facts:
    """FACTS_DTYPE, a row for each document in the line of all shards.

    Raises ObjectChanged where a file is not what the manifest names, and the StoreErrors of reading.
    """
    described = [shard for shard in shards if shard.facts is not None]
    files = [(shard.facts.key, shard.facts.checksum) for shard in described if shard.facts is not None]
    contents = {
        shard.key: content for shard, content in zip(described, read_verified(store, files), strict=True)
    }
    of_shards = [
        np.frombuffer(contents[shard.key], dtype=FACTS_DTYPE)
        if shard.key in contents
        else _unknown(shard.documents)
        for shard in shards
    ]
    return np.concatenate([np.empty(0, dtype=FACTS_DTYPE), *of_shards])


def _unknown(documents: int) -> Facts:
    facts = np.zeros(documents, dtype=FACTS_DTYPE)
    facts["difficulty"] = np.nan
    return facts
