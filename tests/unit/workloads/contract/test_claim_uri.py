"""pvc://CLAIM/FOLDER names a claim that can be, and never leads out of it."""

from pathlib import PurePosixPath

import pytest

from deepseek_workloads.contract.claim_uri import claim_of, folder_of, mount_path


@pytest.mark.parametrize(
    ("uri", "claim", "folder"),
    [
        ("pvc://runs/tiny", "runs", "tiny"),
        ("pvc://shared.data-1/a/b/tokenizer.json", "shared.data-1", "a/b/tokenizer.json"),
        ("pvc://runs/a%2e", "runs", "a%2e"),
    ],
)
def test_a_uri_is_a_claim_and_a_folder_on_it(uri: str, claim: str, folder: str) -> None:
    assert claim_of(uri) == claim
    assert folder_of(uri) == PurePosixPath(folder)


@pytest.mark.parametrize("uri", ["s3://bucket/x", "file:///pvc/x", "", "pvc:/runs/x"])
def test_other_uris_name_no_claim(uri: str) -> None:
    assert claim_of(uri) is None


@pytest.mark.parametrize("uri", ["pvc://", "pvc:///x", "pvc://Runs/x", "pvc://a_b/x", f"pvc://{'a' * 254}/x"])
def test_what_no_claim_is_called_is_an_error(uri: str) -> None:
    with pytest.raises(ValueError, match="PersistentVolumeClaim"):
        claim_of(uri)


def test_no_path_leads_out_of_the_mount() -> None:
    with pytest.raises(ValueError, match="must have no"):
        folder_of("pvc://runs/tiny/../../etc")


def test_each_claim_has_a_mount_of_its_own() -> None:
    assert mount_path("runs") != mount_path("corpus")
