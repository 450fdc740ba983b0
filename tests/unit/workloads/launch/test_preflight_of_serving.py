"""A serving run starts no worker for an export that is not what its revision records."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.records import ExportManifest, FileEntry, Provenance
from deepseek_workloads.contract.run_config import (
    CheckBaseline,
    Owner,
    ServedRevision,
    ServingCheck,
    ServingRun,
    Storage,
    Workers,
)
from deepseek_workloads.launch.preflight import preflight
from deepseek_workloads.launch.refusals import Refusal
from deepseek_workloads.store.open import open_store

WEIGHTS = "model.safetensors"
WriteExport = Callable[..., tuple[Storage, str]]


@pytest.fixture
def write_export(provenance: Provenance) -> WriteExport:
    """Preflight looks at names and sizes; replicas read the content."""

    def write(folder: Path, *, document: bytes | None = None) -> tuple[Storage, str]:
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(b"weights")
        files = [FileEntry(key=WEIGHTS, size=7, checksum="xxh3-128:0")]
        manifest = ExportManifest(files=files, provenance=provenance, parameters=1)
        document = manifest.to_json() if document is None else document
        (folder / "manifest.json").write_bytes(document)
        return Storage(uri=folder.as_uri()), sha256_digest(document)

    return write


@pytest.fixture
def export_folder(tmp_path: Path) -> Path:
    return tmp_path / "export"


def serving_run(storage: Storage, digest: str, baseline: CheckBaseline | None = None) -> ServingRun:
    return ServingRun(
        owner=Owner(namespace="test", name="chat", uid="uid"),
        served_model_name="chat",
        revision=ServedRevision(name="chat-1", uid="uid-1", storage=storage, digest=digest),
        check=ServingCheck(baseline=baseline),
        workers=Workers(num_nodes=1),
    )


def only_refusal(run: ServingRun) -> Refusal:
    (refusal,) = preflight(run, open_store)
    return refusal


def test_an_export_that_is_as_recorded_may_be_served(write_export: WriteExport, export_folder: Path) -> None:
    assert preflight(serving_run(*write_export(export_folder)), open_store) == []


def test_nothing_is_written_because_credentials_may_only_read(
    write_export: WriteExport, export_folder: Path
) -> None:
    run = serving_run(*write_export(export_folder))

    preflight(run, open_store)

    assert {path.name for path in export_folder.iterdir()} == {"manifest.json", WEIGHTS}


def test_another_manifest_than_the_revision_records(write_export: WriteExport, export_folder: Path) -> None:
    storage, _ = write_export(export_folder)

    refusal = only_refusal(serving_run(storage, "sha256:" + "0" * 64))

    assert refusal.reason == reasons.EXPORT_INVALID
    assert "sha256:" + "0" * 64 in refusal.message


def test_a_manifest_of_another_version(write_export: WriteExport, export_folder: Path) -> None:
    refusal = only_refusal(serving_run(*write_export(export_folder, document=b'{"format_version": 9}')))

    assert refusal.reason == reasons.EXPORT_INVALID


def test_a_file_that_was_deleted(write_export: WriteExport, export_folder: Path) -> None:
    run = serving_run(*write_export(export_folder))
    (export_folder / WEIGHTS).unlink()

    refusal = only_refusal(run)

    assert refusal.reason == reasons.EXPORT_INVALID
    assert f"{WEIGHTS}: does not exist" in refusal.message


def test_a_file_that_was_cut(write_export: WriteExport, export_folder: Path) -> None:
    run = serving_run(*write_export(export_folder))
    (export_folder / WEIGHTS).write_bytes(b"weigh")

    assert f"{WEIGHTS}: has 5 bytes, the manifest says 7" in only_refusal(run).message


def test_no_export_at_all(tmp_path: Path) -> None:
    refusal = only_refusal(serving_run(Storage(uri=(tmp_path / "nothing").as_uri()), "sha256:0"))

    assert not refusal.transient
    assert "manifest.json" in refusal.message


def test_a_baseline_that_was_deleted_since_does_not_keep_its_successor_from_serving(
    write_export: WriteExport, export_folder: Path, tmp_path: Path
) -> None:
    storage, digest = write_export(export_folder)
    lost = CheckBaseline(storage=Storage(uri=(tmp_path / "lost").as_uri()), digest=digest, bits_per_byte=2.0)

    assert preflight(serving_run(storage, digest, lost), open_store) == []


def test_a_baseline_that_was_altered_since_keeps_no_replaced_pod_of_the_active_cluster_from_starting(
    write_export: WriteExport, export_folder: Path, tmp_path: Path
) -> None:
    storage, digest = write_export(export_folder)
    altered, its_digest = write_export(tmp_path / "altered")
    (tmp_path / "altered" / WEIGHTS).unlink()
    baseline = CheckBaseline(storage=altered, digest=its_digest, bits_per_byte=2.0)

    assert preflight(serving_run(storage, digest, baseline), open_store, first_start=False) == []


def test_a_candidate_that_cannot_be_compared_with_an_altered_baseline_is_refused(
    write_export: WriteExport, export_folder: Path, tmp_path: Path
) -> None:
    storage, digest = write_export(export_folder)
    altered, its_digest = write_export(tmp_path / "altered")
    (tmp_path / "altered" / WEIGHTS).write_bytes(b"other")
    baseline = CheckBaseline(storage=altered, digest=its_digest, bits_per_byte=2.0)

    assert "the active revision" in only_refusal(serving_run(storage, digest, baseline)).message
