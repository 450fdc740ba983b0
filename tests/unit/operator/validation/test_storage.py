"""A storage URI or an endpoint that cannot work is refused with what to write instead."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.validation.storage import GivenUri, check_endpoint, check_uri, check_uris


@pytest.mark.parametrize(
    "uri",
    [
        "s3://abc",
        "s3://my-bucket/a/b",
        "s3://my.bucket/",
        "s3://0ab/x-y_z/1.txt",
        "gs://my_bucket.of/a",
        "az://container-1/a/b",
        "pvc://my-claim/a/b",
    ],
)
def test_good_uris_pass(uri: str) -> None:
    assert list(check_uri(uri, field="spec.storage.uri")) == []


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("s3:///prefix", "must name a bucket after s3://"),
        ("s3://", "must name a bucket after s3://"),
        ("models/tiny", "must begin with s3://"),
        ("http://s3.example.com/bucket", "must begin with s3://"),
        ("file:///data", "must begin with s3://, gs://, az:// or pvc://"),
        ("hdfs://namenode/data", "must begin with s3://, gs://, az:// or pvc://"),
        ("abfss://data@account.dfs.core.windows.net/x", "must begin with az://, not abfss://"),
        ("gs:///x", "must name a bucket after gs://"),
        ("az://my.container/x", "letters, digits and hyphens"),
        ("az://my--container/x", "letters, digits and hyphens"),
        ("pvc:///runs", "must name a PersistentVolumeClaim"),
        ("pvc://My-Claim/runs", "must name a PersistentVolumeClaim"),
        ("pvc://my-claim", "must name a folder of the claim"),
        ("pvc://my-claim/../other", "no empty, . or .. part"),
        ("pvc://my-claim/a?b=c", "no ? and no #"),
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


def test_what_shares_an_endpoint_lies_in_the_same_kind_of_storage() -> None:
    shared = "s3://models/tiny"
    assert list(check_uri("s3://corpus/docs", field="f", endpoint_of=shared)) == []
    (problem,) = check_uri("gs://corpus/docs", field="f", endpoint_of=shared)
    assert shared in problem.rule
    assert "endpointUrl" in problem.rule


@pytest.mark.parametrize(
    ("uri", "shared"), [("pvc://corpus/docs", "s3://models/tiny"), ("gs://corpus/docs", "pvc://models/tiny")]
)
def test_a_claim_lies_beside_any_bucket(uri: str, shared: str) -> None:
    assert list(check_uri(uri, field="f", endpoint_of=shared)) == []


@pytest.mark.parametrize(
    ("uris", "refused"),
    [
        (["pvc://claim/a", "s3://corpus/b", "gs://corpus/c"], ["gs://corpus/c"]),
        (["s3://models/a", "pvc://claim/b", "gs://corpus/c", "s3://corpus/d"], ["gs://corpus/c"]),
        (["pvc://claim/a", "az://corpus/b", "pvc://claim/c", "az://corpus/d"], []),
    ],
)
def test_the_first_bucket_says_what_kind_an_endpoint_is_for(uris: list[str], refused: list[str]) -> None:
    given = [GivenUri(f"f[{at}]", uri) for at, uri in enumerate(uris)]
    problems = list(check_uris(given, endpoint_url="http://store:9000"))
    assert [problem.value for problem in problems] == [repr(uri) for uri in refused]
    assert list(check_uris(given, endpoint_url=None)) == []


def test_what_has_an_endpoint_of_its_own_may_be_of_another_kind() -> None:
    given = [
        GivenUri("a", "gs://corpus/a", shares_endpoint=False),
        GivenUri("b", "s3://models/b"),
        GivenUri("c", "az://corpus/c", shares_endpoint=False),
    ]
    assert list(check_uris(given, endpoint_url="http://store:9000")) == []


def test_a_uri_that_is_refused_judges_no_other() -> None:
    given = [GivenUri("a", "models/tiny"), GivenUri("b", "s3://corpus/b")]
    assert [problem.field for problem in check_uris(given, endpoint_url="http://store:9000")] == ["a"]


def test_credentials_in_a_uri_are_refused_without_being_repeated() -> None:
    (problem,) = check_uri("s3://key:secret@bucket/x", field="spec.storage.uri")
    assert "secretRef" in problem.remedy
    assert "key:secret" not in str(problem)


@given(st.text(max_size=80))
def test_any_text_gives_at_most_one_problem(uri: str) -> None:
    assert len(list(check_uri(uri, field="f"))) <= 1


@pytest.mark.parametrize("url", [None, "http://s3", "https://s3.example.com:9000/", "http://[::1]:7070"])
def test_good_endpoints_pass(url: str | None) -> None:
    assert list(check_endpoint(url, field="spec.storage.endpointUrl")) == []


@pytest.mark.parametrize(
    "url", ["http://s3:99999", "http://s3:port", "http://s3:0", "http://[::1", "http://:80"]
)
def test_endpoints_that_nobody_can_reach_are_refused(url: str) -> None:
    (problem,) = check_endpoint(url, field="spec.storage.endpointUrl")
    assert (problem.field, problem.reason) == ("spec.storage.endpointUrl", "InvalidEndpointUrl")
    assert problem.value == repr(url)
    assert problem.remedy


@pytest.mark.parametrize(
    "url", ["http://KEY:SECRET@s3:7070", "https://SECRET@s3/x", "http://KEY:SECRET@s3:bad"]
)
def test_credentials_in_an_endpoint_are_refused_without_being_repeated(url: str) -> None:
    (problem,) = check_endpoint(url, field="spec.storage.endpointUrl")
    assert "secretRef" in problem.remedy
    assert "SECRET" not in str(problem)


@given(st.text(max_size=40))
def test_an_endpoint_that_passes_has_a_port_or_none(text: str) -> None:
    url = f"http://{text}"
    if not list(check_endpoint(url, field="f")):
        assert urlsplit(url).port != 0
