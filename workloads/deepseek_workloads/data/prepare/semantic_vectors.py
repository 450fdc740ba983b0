"""Semantic duplicates, first substeps: each document's vector, and the clusters that only are searched.

All pairs of a large set are too many. As in SemDeDup (Abbas et al. 2023, arXiv:2303.09540) documents are put
into clusters by k-means, and compared with those of their own cluster.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from deepseek_workloads.contract.pipeline import DeduplicateSemantic
from deepseek_workloads.data.prepare.context import Context, put_file, read_file
from deepseek_workloads.data.prepare.named_models import open_encoder
from deepseek_workloads.data.prepare.near_pairs import MEMBER_DTYPE
from deepseek_workloads.data.prepare.part_files import iter_documents
from deepseek_workloads.data.prepare.records import (
    CentroidsRecord,
    ClusteredRecord,
    DocumentsRecord,
    DropRecord,
    VectorsRecord,
)
from deepseek_workloads.data.prepare.stage import put_record
from deepseek_workloads.data.prepare.text_models import Vectors
from deepseek_workloads.store.interface import ByteRange, ObjectStore

EMBEDDED_TOGETHER = 256
CLUSTER_AIM = 2048  # documents of a cluster
MAX_CLUSTERS = 8192
SAMPLES_A_CLUSTER = 64
ROUNDS = 10
_ASSIGNED_TOGETHER = 4096
_SEED = 1


def embed_part(
    context: Context,
    stage: str,
    settings: DeduplicateSemantic,
    dropped: Sequence[DropRecord],
    documents: DocumentsRecord,
) -> VectorsRecord:
    """Vectors as float16: of a cosine they change less than a thousandth."""
    model = open_encoder(context, settings)
    members, vectors = [], [np.empty((0, model.dimensions), dtype=np.float16)]
    with context.output() as store:
        for group in _groups(store, documents, dropped):
            embedded = model.embed([text for _, text in group])
            known = np.any(embedded, axis=1)  # what the model knows no word of is like nothing
            vectors.append(embedded[known].astype(np.float16))
            members += [
                (documents.number, number, min(len(text), 2**32 - 1))
                for (number, text), kept in zip(group, known.tolist(), strict=True)
                if kept
            ]
        key = context.key(f"duplicates/{stage}/{documents.number:05d}")
        record = VectorsRecord(
            number=documents.number,
            vectors=put_file(store, f"{key}.vectors", np.concatenate(vectors).tobytes()),
            members=put_file(store, f"{key}.members", np.array(members, dtype=MEMBER_DTYPE).tobytes()),
            rows=len(members),
            dimensions=model.dimensions,
        )
        return put_record(store, context, stage, record)


def _groups(
    store: ObjectStore, documents: DocumentsRecord, dropped: Sequence[DropRecord]
) -> Iterator[list[tuple[int, str]]]:
    group: list[tuple[int, str]] = []
    for number, document in iter_documents(store, documents, dropped):
        group.append((number, document.text))
        if len(group) == EMBEDDED_TOGETHER:
            yield group
            group = []
    if group:
        yield group


def find_centroids(
    context: Context, stage: str, embedded: Sequence[VectorsRecord], _task: int
) -> CentroidsRecord:
    """By a sample of all parts, of at most SAMPLES_A_CLUSTER vectors a cluster."""
    total = sum(record.rows for record in embedded)
    clusters = min(MAX_CLUSTERS, max(1, total // CLUSTER_AIM))
    with context.output() as store:
        wanted = clusters * SAMPLES_A_CLUSTER
        samples = [_sample(store, each, count=-(-wanted * each.rows // max(1, total))) for each in embedded]
        dimensions = embedded[0].dimensions
        vectors = np.concatenate([np.empty((0, dimensions), dtype=np.float32), *samples])
        centroids = spherical_k_means(vectors, clusters=clusters)
        file = put_file(store, context.key(f"duplicates/{stage}/00000"), centroids.tobytes())
        record = CentroidsRecord(number=0, centroids=file, clusters=len(centroids), dimensions=dimensions)
        return put_record(store, context, stage, record)


def _sample(store: ObjectStore, record: VectorsRecord, *, count: int) -> Vectors:
    vectors = _read_vectors(store, record)
    chosen = np.random.default_rng((_SEED, record.number)).choice(
        len(vectors), size=min(count, len(vectors)), replace=False
    )
    return vectors[np.sort(chosen)]


def _read_vectors(store: ObjectStore, record: VectorsRecord) -> Vectors:
    rows = np.frombuffer(read_file(store, record.vectors), dtype=np.float16)
    return rows.reshape(-1, record.dimensions).astype(np.float32)


def spherical_k_means(vectors: Vectors, *, clusters: int) -> Vectors:
    """Centroids of length 1; at most as many as there are vectors, and one of no vectors. The same vectors
    give the same."""
    if not len(vectors):
        return np.zeros((1, vectors.shape[1]), dtype=np.float32)
    first = np.random.default_rng(_SEED).choice(len(vectors), size=min(clusters, len(vectors)), replace=False)
    centroids = vectors[np.sort(first)]
    for _ in range(ROUNDS):
        nearest = nearest_centroids(vectors, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centroids)
    return centroids


def nearest_centroids(vectors: Vectors, centroids: Vectors) -> npt.NDArray[np.int64]:
    found = [
        np.argmax(vectors[at : at + _ASSIGNED_TOGETHER] @ centroids.T, axis=1)
        for at in range(0, len(vectors), _ASSIGNED_TOGETHER)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def cluster_part(
    context: Context, stage: str, centroids: CentroidsRecord, record: VectorsRecord
) -> ClusteredRecord:
    """The part's vectors and members again, ordered by cluster."""
    with context.output() as store:
        middle = np.frombuffer(read_file(store, centroids.centroids), dtype=np.float32)
        vectors = _read_vectors(store, record)
        members = np.frombuffer(read_file(store, record.members), dtype=MEMBER_DTYPE)
        nearest = nearest_centroids(vectors, middle.reshape(-1, centroids.dimensions))
        order = np.argsort(nearest, kind="stable")
        starts = np.searchsorted(nearest[order], np.arange(centroids.clusters + 1))
        key = context.key(f"duplicates/{stage}/{record.number:05d}")
        clustered = ClusteredRecord(
            number=record.number,
            vectors=put_file(store, f"{key}.vectors", vectors[order].astype(np.float16).tobytes()),
            members=put_file(store, f"{key}.members", members[order].tobytes()),
            cluster_starts=starts.tolist(),
            dimensions=record.dimensions,
        )
        return put_record(store, context, stage, clustered)


def read_cluster(
    store: ObjectStore, clustered: Sequence[ClusteredRecord], cluster: int
) -> tuple[Vectors, npt.NDArray[np.void]]:
    """Of all parts: (vectors, MEMBER_DTYPE), by part and document."""
    spans = [
        (each, each.cluster_starts[cluster], each.cluster_starts[cluster + 1])
        for each in clustered
        if each.cluster_starts[cluster] < each.cluster_starts[cluster + 1]
    ]
    widths = [2 * each.dimensions for each, _, _ in spans]
    rows = store.read_ranges(
        [
            ByteRange(each.vectors.key, start * width, end * width)
            for (each, start, end), width in zip(spans, widths, strict=True)
        ]
    )
    size = MEMBER_DTYPE.itemsize
    who = store.read_ranges(
        [ByteRange(each.members.key, start * size, end * size) for each, start, end in spans]
    )
    vectors = np.frombuffer(b"".join(rows), dtype=np.float16).reshape(-1, clustered[0].dimensions)
    return vectors.astype(np.float32), np.frombuffer(b"".join(who), dtype=MEMBER_DTYPE)
