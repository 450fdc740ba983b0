"""Semantic duplicates, third substep: within some clusters, what is alike directly or through others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.pipeline import DeduplicateSemantic
from deepseek_workloads.data.prepare.context import Context, put_file
from deepseek_workloads.data.prepare.embedding import Vectors
from deepseek_workloads.data.prepare.near_components import connected_components
from deepseek_workloads.data.prepare.near_pairs import PAIR_DTYPE
from deepseek_workloads.data.prepare.records import ClusteredRecord, PairsRecord
from deepseek_workloads.data.prepare.semantic_vectors import read_cluster
from deepseek_workloads.data.prepare.stage import put_record

TASKS_AIM = 256
BLOCK = 2048  # rows of two blocks whose products are in memory


def plan_cluster_ranges(clustered: Sequence[ClusteredRecord]) -> list[tuple[int, int, int]]:
    """(number of the task, first cluster, end)."""
    clusters = len(clustered[0].cluster_starts) - 1
    bounds = np.linspace(0, clusters, min(TASKS_AIM, clusters) + 1).astype(int).tolist()
    return [(number, *bounds[number : number + 2]) for number in range(len(bounds) - 1)]


def pairs_of_clusters(
    context: Context,
    stage: str,
    settings: DeduplicateSemantic,
    clustered: Sequence[ClusteredRecord],
    task: tuple[int, int, int],
) -> PairsRecord:
    """Each document beside the first one of those that are alike: as many pairs as connect them."""
    number, first, end = task
    found = [np.empty(0, dtype=PAIR_DTYPE)]
    with context.output() as store:
        for cluster in range(first, end):
            vectors, members = read_cluster(store, clustered, cluster)
            labels = alike(vectors, threshold=settings.threshold)
            joined = np.flatnonzero(labels != np.arange(len(labels)))
            pairs = np.empty(len(joined), dtype=PAIR_DTYPE)
            pairs["first"], pairs["second"] = members[labels[joined]], members[joined]
            found.append(pairs)
        key = context.key(f"duplicates/{stage}/{number:05d}")
        file = put_file(store, key, np.concatenate(found).tobytes())
        return put_record(store, context, stage, PairsRecord(number=number, pairs=file))


def alike(vectors: Vectors, *, threshold: float) -> npt.NDArray[np.int64]:
    """For each row, of length 1, the first row that it is connected with by cosines of `threshold` or more.

    Memory: BLOCK * BLOCK products, whatever the number of rows.
    """
    labels = np.arange(len(vectors), dtype=np.int64)
    starts = range(0, len(vectors), BLOCK)
    for above in starts:
        for beside in range(above, len(vectors), BLOCK):
            products = vectors[above : above + BLOCK] @ vectors[beside : beside + BLOCK].T
            one, other = np.nonzero(products >= threshold)
            edges = np.arange(len(vectors))
            labels = connected_components(
                len(vectors), np.r_[edges, one + above], np.r_[labels, other + beside]
            )
    return labels
