import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract import layout


@given(st.integers(1, 10**8 - 1))
def test_a_log_key_gives_its_index_back(index: int) -> None:
    assert layout.log_index(layout.log_key(index)) == index


@given(st.lists(st.integers(1, 10**8 - 1), max_size=20))
def test_log_keys_sort_as_their_indices(indices: list[int]) -> None:
    assert sorted(map(layout.log_key, indices)) == [layout.log_key(index) for index in sorted(indices)]


@pytest.mark.parametrize("key", ["log/1.json", "log/00000001.txt", "data/00000001.json", "log/0000000x.json"])
def test_another_key_is_no_index(key: str) -> None:
    with pytest.raises(ValueError, match=r"00000001|0000000x"):
        layout.log_index(key)


def test_an_export_prefix_holds_no_colon() -> None:
    assert layout.export_prefix("sha256:" + "ab" * 32) == "exports/sha256-" + "ab" * 32 + "/"


def test_the_digest_of_an_export_is_found_in_its_uri() -> None:
    digest = "sha256:" + "ab" * 32
    uri = layout.join_uri("s3://bucket/prefix", layout.export_prefix(digest))
    assert layout.digest_in_uri(uri) == layout.digest_in_uri(uri.rstrip("/")) == digest
    assert layout.digest_in_uri("s3://bucket/my-model") is None


@pytest.mark.parametrize("uri", ["s3://bucket/prefix", "s3://bucket/prefix/"])
def test_a_uri_is_joined_by_one_slash(uri: str) -> None:
    assert layout.join_uri(uri, "manifest.json") == "s3://bucket/prefix/manifest.json"
