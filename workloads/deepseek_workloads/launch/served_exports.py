"""Whether the exports that a serving run names are there, as recorded, and of a model that the engine answers
with. Of files it sees sizes only: replicas, which read them anyway, hold them against their checksums."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing

import pydantic

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import ExportManifest, FileEntry
from deepseek_workloads.contract.run_config import ServingRun, Storage
from deepseek_workloads.export.folder import CONFIG
from deepseek_workloads.launch.refusals import OpenStore, Refusals
from deepseek_workloads.plan.architecture_rules import served_by_no_engine
from deepseek_workloads.plan.hugging_face_config import architecture_of
from deepseek_workloads.store.interface import NotFound, StoreError

EXPORT_MANIFEST = "manifest.json"


def check_served_exports(
    run: ServingRun, open_store: OpenStore, refusals: Refusals, *, first_start: bool
) -> None:
    """The baseline is of use to a candidate. A cluster that had a coordinator before may be the active one:
    it must come up again whatever has become of the export that it once replaced."""
    _check_export(f"revision {run.revision.name!r}", run.storage, run.revision.digest, open_store, refusals)
    baseline = run.check.baseline
    if first_start and baseline is not None and not _is_gone(baseline.storage, open_store):
        _check_export("the active revision", baseline.storage, baseline.digest, open_store, refusals)


def _is_gone(storage: Storage, open_store: OpenStore) -> bool:
    """An export that was replaced long ago may be deleted: pods of its successor must start all the same."""
    with closing(open_store(storage)) as store:
        try:
            store.stat(EXPORT_MANIFEST)
        except NotFound:
            return True
        except StoreError:  # told by the check
            return False
    return False


def _check_export(
    what: str, storage: Storage, digest: str, open_store: OpenStore, refusals: Refusals
) -> None:
    """The manifest is the one that was recorded, and every file is there in its size; replicas, which read
    the files anyway, hold them against their checksums."""
    with refusals.collected(what), closing(open_store(storage)) as store:
        document = store.read(EXPORT_MANIFEST)
        if (found := sha256_digest(document)) != digest:
            refusals.add(
                reasons.EXPORT_INVALID,
                f"{what}: {storage.uri}/{EXPORT_MANIFEST}: its digest is {found}, the revision records "
                f"{digest}: restore the export, or serve another revision",
            )
            return
        try:
            manifest = ExportManifest.model_validate_json(document)
        except pydantic.ValidationError as error:
            message = f"{what}: {storage.uri}/{EXPORT_MANIFEST}: no manifest of this version: {error}"
            refusals.add(reasons.EXPORT_INVALID, f"{message}: export the model again")
            return
        sizes = {info.key: info.size for info in store.list("")}
        for entry in manifest.files:
            if sizes.get(entry.key) != entry.size:
                refusals.add(reasons.EXPORT_INVALID, _not_as_recorded(what, storage, entry, sizes))
                return
        if CONFIG in sizes:
            for problem in _not_served(store.read(CONFIG)):
                refusals.add(reasons.EXPORT_INVALID, f"{what}: {storage.uri}/{CONFIG}: {problem}")


def _not_served(config: bytes) -> Iterator[str]:
    try:
        for why in served_by_no_engine(architecture_of(json.loads(config))):
            yield f"{why}: serve a model of another kind, or use this one through its own modelling file"
    except ValueError as error:
        yield f"{error}: export the model again"


def _not_as_recorded(what: str, storage: Storage, entry: FileEntry, sizes: Mapping[str, int]) -> str:
    found = f"has {sizes[entry.key]} bytes" if entry.key in sizes else "does not exist"
    return (
        f"{what}: {storage.uri}/{entry.key}: {found}, the manifest says {entry.size} bytes: restore the "
        "export, or serve another revision"
    )
