"""Writes an export below its digest and publishes it by one conditional write of the manifest.

Which epoch may do so is `store.log`'s business: the caller commits an ExportRecord afterwards.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.layout import export_prefix, join_uri
from deepseek_workloads.contract.records import ExportManifest, FileEntry, Provenance
from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.export.files import ExportFile, ExportTokenizer, hugging_face_files
from deepseek_workloads.plan.estimate import parameters
from deepseek_workloads.plan.hugging_face_config import class_of
from deepseek_workloads.store.interface import AlreadyExists, ObjectChanged, ObjectStore

EXPORT_MANIFEST = "manifest.json"
MAX_SHARD_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Export:
    """A published model."""

    digest: str
    prefix: str  # below the storage URI
    uri: str
    manifest: ExportManifest


def export_model(
    store: ObjectStore,
    *,
    state: Mapping[str, Tensor],
    architecture: Architecture,
    tokenizer: ExportTokenizer,
    provenance: Provenance,
    evaluation: Mapping[str, float],
    held_out: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    int8: Collection[str] = (),
) -> Export:
    """`store` is the job's storage; `state` the whole state dict on the CPU (`gather.whole_state`).

    The same inputs give the same digest, so that a repetition after a crash finds or finishes its own export.
    `held_out` are texts of `export.held_out`; `int8` are the names in `state` of what is written as int8 with
    scales. File keys in the manifest are relative to the export's own prefix: a copied folder stays
    verifiable.
    Raises the StoreErrors of writes.
    """
    files = hugging_face_files(
        state,
        architecture=architecture,
        tokenizer=tokenizer,
        held_out=held_out,
        dtype=dtype,
        max_shard_bytes=max_shard_bytes,
        int8=int8,
    )
    return publish(
        store,
        files,
        provenance=provenance,
        evaluation=evaluation,
        parameters=parameters(architecture),
        model=class_of(architecture),
    )


def publish(
    store: ObjectStore,
    files: Sequence[ExportFile],
    *,
    provenance: Provenance,
    evaluation: Mapping[str, float],
    parameters: int,
    model: str,
) -> Export:
    """`model`: the class that computes with the weights. See `export_model`."""
    manifest = ExportManifest(
        files=[_entry(file) for file in files],
        provenance=provenance,
        evaluation=dict(evaluation),
        parameters=parameters,
        architecture=model,
    )
    document = manifest.to_json()
    digest = sha256_digest(document)
    prefix = export_prefix(digest)
    _write(store, files, prefix=prefix)
    _publish(store, f"{prefix}{EXPORT_MANIFEST}", document)
    return Export(digest, prefix, join_uri(store.uri, prefix.rstrip("/")), manifest)


def _entry(file: ExportFile) -> FileEntry:
    content = file.content()
    return FileEntry(key=file.name, size=len(content), checksum=object_checksum(content))


def _write(store: ObjectStore, files: Sequence[ExportFile], *, prefix: str) -> None:
    """One after another: each shard is in memory as a copy and as bytes while it is written."""
    for file in files:
        store.put(f"{prefix}{file.name}", file.content())


def _publish(store: ObjectStore, key: str, document: bytes) -> None:
    try:
        store.create(key, document)
    except AlreadyExists:
        if store.read(key) != document:
            raise ObjectChanged(
                f"{join_uri(store.uri, key)} holds another document than its digest says: "
                "remove that prefix, or write to a fresh storage URI"
            ) from None
