"""pvc://: the file store below a mounted claim, and what is refused there."""

import errno
import os
from pathlib import Path

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.store.interface import AccessDenied, ObjectStore
from deepseek_workloads.store.open import InvalidStorageUri, open_store
from deepseek_workloads.store.probe import UnsafeStore, check_conditional_writes


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """The claim `runs`, mounted."""
    mounted = tmp_path / "runs"
    mounted.mkdir()
    return mounted


@pytest.fixture
def store(claim: Path) -> ObjectStore:
    return open_store(Storage(uri="pvc://runs/tiny/"), environ={}, claims_dir=claim.parent)


def test_objects_lie_below_the_folder_of_the_claim(store: ObjectStore, claim: Path) -> None:
    store.create("log/1", b"first")
    assert (claim / "tiny/log/1").read_bytes() == b"first"


def test_the_store_goes_by_the_uri_that_other_pods_know_it_by(store: ObjectStore) -> None:
    assert store.uri == "pvc://runs/tiny"


def test_a_volume_passes_the_probe_of_conditional_writes(store: ObjectStore) -> None:
    check_conditional_writes(store)
    assert list(store.list("")) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_hard_links_is_refused(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(_source: Path, _target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UnsafeStore, match=r"pvc://runs/tiny: its file system has no hard links") as refused:
        check_conditional_writes(store)
    assert refused.value.reason == reasons.UNSAFE_STORE


def test_a_folder_of_somebody_else_is_refused_with_who_must_be_let_in(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(_source: Path, _target: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(AccessDenied, match=f"uid {os.getuid()}, gid {os.getgid()}"):
        check_conditional_writes(store)


def test_a_claim_that_is_not_mounted_is_refused(tmp_path: Path) -> None:
    """Its folder would else be made on the disk of the pod."""
    with pytest.raises(InvalidStorageUri, match="no PersistentVolumeClaim is mounted"):
        open_store(Storage(uri="pvc://absent/tiny"), environ={}, claims_dir=tmp_path)


@pytest.mark.parametrize("uri", ["pvc://runs/../other", "pvc://RUNS/tiny", "pvc:///tiny"])
def test_a_uri_that_names_no_folder_of_a_claim_is_refused(claim: Path, uri: str) -> None:
    with pytest.raises(InvalidStorageUri, match="pvc://CLAIM/FOLDER"):
        open_store(Storage(uri=uri), environ={}, claims_dir=claim.parent)
