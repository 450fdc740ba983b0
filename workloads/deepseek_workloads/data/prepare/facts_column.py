"""The facts of a part's documents, beside the shards that hold them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.pipeline import is_augmentation
from deepseek_workloads.contract.records import Shard
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.document_facts import FACTS_DTYPE, Facts
from deepseek_workloads.data.prepare.context import put_file
from deepseek_workloads.data.prepare.documents import Index, augmented
from deepseek_workloads.store.interface import ObjectStore


def facts_wanted(run: DatasetRun) -> bool:
    """Whether a stage, or reading, finds out or makes what the column tells."""
    stages = run.pipeline or ()
    by_a_stage = any(stage.score_difficulty or is_augmentation(stage.settings) for stage in stages)
    return by_a_stage or run.image_augmentation is not None


def facts_of(index: Index, *, wanted: npt.NDArray[np.bool_]) -> Facts:
    facts = np.empty(int(wanted.sum()), dtype=FACTS_DTYPE)
    facts["difficulty"], facts["augmented"] = index["difficulty"][wanted], augmented(index)[wanted]
    return facts


def put_facts(store: ObjectStore, shards: Sequence[Shard], facts: Facts) -> list[Shard]:
    """`facts`: of all documents of the shards, in order."""
    assert sum(shard.documents for shard in shards) == len(facts)
    described, start = [], 0
    for shard in shards:
        key, end = f"{shard.key.removesuffix('.bin')}.facts", start + shard.documents
        file = put_file(store, key, facts[start:end].tobytes())
        described.append(shard.model_copy(update={"facts": file}))
        start = end
    return described
