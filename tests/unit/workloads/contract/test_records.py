import pytest
from pydantic import ValidationError

from deepseek_workloads.contract.digest import DIGEST_PATTERN, sha256_digest
from deepseek_workloads.contract.records import (
    CheckpointRecord,
    EpochRecord,
    ExportRecord,
    FileEntry,
    RetireRecord,
    parse_record,
)

WRITER = {"epoch": 2, "writer": "w", "created_at": "2026-11-22T05:00:00Z"}
RECORDS = [
    EpochRecord(run_config_digest="sha256:0", **WRITER),
    CheckpointRecord(
        step=10,
        consumed_samples=80,
        tokens=10240,
        prefix="data/x/",
        files=[FileEntry(key="data/x/a", size=3, checksum="xxh3-128:0")],
        **WRITER,
    ),
    RetireRecord(indices=[1, 2], **WRITER),
    ExportRecord(step=10, digest="sha256:0", prefix="exports/sha256-0/", **WRITER),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind)
def test_a_record_is_read_as_what_it_was_written(record) -> None:
    assert parse_record(record.to_json()) == record


def test_a_record_of_a_newer_version_is_read_by_what_is_known() -> None:
    document = RECORDS[2].to_json().replace(b"{", b'{"fromTheFuture":1,', 1)
    assert parse_record(document) == RECORDS[2]


@pytest.mark.parametrize("document", [b"", b"{}", b'{"kind": "epoch"}', b'{"kind": "other", "epoch": 1}'])
def test_what_is_no_record_is_refused(document) -> None:
    with pytest.raises(ValidationError):
        parse_record(document)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="size"):
        FileEntry(key="k", size=-1, checksum="c")


def test_digests_are_sha256_in_hexadecimal() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_digest(b"") == empty
    assert DIGEST_PATTERN.match(empty)
    assert not DIGEST_PATTERN.match(empty.upper())
