"""What a stored document may name, and what would lead elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deepseek_workloads.contract.keys import RelativeKey, RelativePrefix

KEY: TypeAdapter[str] = TypeAdapter(RelativeKey)
PREFIX: TypeAdapter[str] = TypeAdapter(RelativePrefix)
LEADING_ELSEWHERE = [
    "/etc/passwd",
    "../x",
    "data/../../x",
    "data/..",
    ".",
    "a//b",
    "./a",
    "a\\..\\b",
    "a\0b",
    "a\nb",
]


@pytest.mark.parametrize(
    "key", ["model.safetensors", "data/00000001-ab/0.safetensors", "文本/a b.bin", "..a/b.."]
)
def test_keys_below_the_documents_place_are_taken(key: str) -> None:
    assert KEY.validate_python(key) == key


@pytest.mark.parametrize("key", [*LEADING_ELSEWHERE, "", "a/", "x" * 1025])
def test_others_are_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        KEY.validate_python(key)


@pytest.mark.parametrize("prefix", [*(f"{key}/" for key in LEADING_ELSEWHERE), "/", "", "data/x"])
def test_so_are_prefixes(prefix: str) -> None:
    with pytest.raises(ValidationError):
        PREFIX.validate_python(prefix)
    assert PREFIX.validate_python("data/x/") == "data/x/"


@given(parts=st.lists(st.sampled_from(["a", "..", ".", "", "/", "b"]), min_size=1))
def test_no_key_that_is_taken_leads_out_of_a_folder(parts: list[str]) -> None:
    key = "/".join(parts)
    try:
        KEY.validate_python(key)
    except ValidationError:
        return
    assert not key.startswith("/")
    assert ".." not in key.split("/")
