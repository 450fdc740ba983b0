"""A storage URI that cannot work is refused with what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.validation.storage import check_uri


@pytest.mark.parametrize("uri", ["s3://abc", "s3://my-bucket/a/b", "s3://my.bucket/", "s3://0ab/x-y_z/1.txt"])
def test_good_uris_pass(uri: str) -> None:
    assert list(check_uri(uri, field="spec.storage.uri")) == []


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("s3:///prefix", "must name a bucket after s3://"),
        ("s3://", "must name a bucket after s3://"),
        ("models/tiny", "must begin with s3://"),
        ("http://s3.example.com/bucket", "must begin with s3://"),
        ("file:///data", "must begin with s3://"),
        ("s3://AB/x", "3 to 63 lower-case letters"),
        ("s3://ab", "3 to 63 lower-case letters"),
        ("s3://bucket/a?b=c", "no ? and no #"),
        ("s3://bucket/a#b", "no ? and no #"),
        ("s3://bucket/../other", "no empty, . or .. part"),
        ("s3://bucket//x", "no empty, . or .. part"),
    ],
)
def test_bad_uris_are_refused_by_name(uri: str, rule: str) -> None:
    (problem,) = check_uri(uri, field="spec.storage.uri")
    assert problem.field == "spec.storage.uri"
    assert problem.reason == "InvalidStorageUri"
    assert repr(uri) == problem.value
    assert rule in problem.rule
    assert problem.remedy


def test_credentials_in_a_uri_are_refused_without_being_repeated() -> None:
    (problem,) = check_uri("s3://key:secret@bucket/x", field="spec.storage.uri")
    assert "secretRef" in problem.remedy
    assert "key:secret" not in str(problem)


@given(st.text(max_size=80))
def test_any_text_gives_at_most_one_problem(uri: str) -> None:
    assert len(list(check_uri(uri, field="f"))) <= 1
