"""What a replica makes of an older export that its model is to be compared with."""

import json
from pathlib import Path

import pytest

from deepseek_workloads.contract.run_config import (
    CheckBaseline,
    Owner,
    ServedRevision,
    ServingCheck,
    ServingRun,
    Storage,
    Workers,
)
from deepseek_workloads.serve.bring_up import check_model
from deepseek_workloads.serve.served_model import ServedModel
from deepseek_workloads.store.interface import AccessDenied, ObjectStore, StoreError, StoreUnavailable
from deepseek_workloads.store.open import open_store


def run_with_baseline(uri: str) -> ServingRun:
    storage = Storage(uri=uri)
    return ServingRun(
        owner=Owner(namespace="test", name="chat", uid="uid"),
        served_model_name="chat",
        revision=ServedRevision(name="chat-2", uid="uid-2", storage=storage, digest="sha256:2"),
        check=ServingCheck(baseline=CheckBaseline(storage=storage, digest="sha256:1", bits_per_byte=2.0)),
        workers=Workers(num_nodes=1),
    )


@pytest.mark.parametrize("error", [AccessDenied("revoked"), StoreUnavailable("away")])
def test_a_baseline_that_cannot_be_read_is_a_warning(chat: ServedModel, error: StoreError) -> None:
    def refuse(_: Storage) -> ObjectStore:
        raise error

    report = check_model(chat, run_with_baseline("s3://models/old"), open_store=refuse)

    assert report.bits_per_byte_on_baseline is None
    assert f"not compared: the active revision's export cannot be read: {error}" in report.warnings


def test_so_is_one_that_was_altered_or_deleted(chat: ServedModel, tmp_path: Path) -> None:
    run = run_with_baseline(tmp_path.as_uri())

    gone = check_model(chat, run, open_store=open_store)
    (tmp_path / "manifest.json").write_text(json.dumps({"formatVersion": 1}))
    altered = check_model(chat, run, open_store=open_store)

    assert "not compared: the active revision's export is gone" in gone.warnings
    assert "cannot be read" in altered.warnings[-1]
