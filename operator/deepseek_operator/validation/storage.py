"""Storage URIs and endpoints: a scheme that is known, a bucket, claim or port that can be, no credentials."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from deepseek_workloads.contract.claim_uri import CLAIM_SCHEME, claim_of
from deepseek_workloads.contract.environment import AZURE_STORAGE_ACCOUNT_NAME
from deepseek_workloads.contract.storage_schemes import STORAGE_SCHEMES
from deepseek_workloads.plan.problem import Problem

INVALID_STORAGE_URI: Final = "InvalidStorageUri"
INVALID_ENDPOINT_URL: Final = "InvalidEndpointUrl"
MISSING_ACCOUNT: Final = "MissingStorageAccount"
_BUCKETS: Final = {
    "s3": re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
    "gs": re.compile(r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$"),
    "az": re.compile(r"^(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"),
}
_BESIDES: Final = {"s3": ", dots", "gs": ", dots, underscores", "az": ""}  # that a name may hold
_AZURE_ALIASES: Final = ("abfs", "abfss", "adl", "wasb", "wasbs")
_EXAMPLE: Final = "s3://my-bucket/my-prefix"
_CLAIM_EXAMPLE: Final = "pvc://my-claim/my-folder"
_ENDPOINT_EXAMPLE: Final = "https://s3.example.com:9000"


@dataclass(frozen=True)
class GivenUri:
    """Where a resource names a storage."""

    field: str
    uri: str
    shares_endpoint: bool = True  # False: it has an endpoint of its own


def check_uris(given: Iterable[GivenUri], *, endpoint_url: str | None) -> Iterator[Problem]:
    """Of each at most one problem. What shares `endpoint_url` is of one kind: that of the first bucket; what
    lies on a claim has no endpoint."""
    shared: str | None = None
    for each in given:
        shares = endpoint_url is not None and each.shares_endpoint
        yield from check_uri(each.uri, field=each.field, endpoint_of=shared if shares else None)
        if shares and shared is None and each.uri.partition(":")[0] in STORAGE_SCHEMES:
            shared = each.uri


def check_account(given: Iterable[GivenUri], *, secret: str | None) -> Iterator[Problem]:
    """At most one problem. `secret`: the name of the credentials Secret. No az:// URI names its account, and
    no other field does."""
    first = next((each for each in given if each.uri.startswith("az://")), None)
    if secret is None and first is not None:
        yield Problem(
            field="spec.storage.secretRef",
            value="none",
            rule=f"must name a Secret, since {first.field} is in Azure and its URI has no account",
            remedy=f"name one with the key {AZURE_STORAGE_ACCOUNT_NAME}, and those of the credentials",
            reason=MISSING_ACCOUNT,
        )


def check_uri(uri: str, *, field: str, endpoint_of: str | None = None) -> Iterator[Problem]:
    """At most one problem: the first that a user would want to mend. `endpoint_of`: the storage whose
    endpointUrl is used for this one, too."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        yield _problem(field, uri, f"must be a URI ({error})", f"write it like {_EXAMPLE}")
        return
    scheme = parts.scheme
    if scheme in _AZURE_ALIASES:
        remedy = "write az://CONTAINER/PREFIX; the account's name is a key of the credentials Secret"
        yield _problem(field, uri, f"must begin with az://, not {scheme}://", remedy)
    elif scheme not in (*STORAGE_SCHEMES, CLAIM_SCHEME):
        remedy = f"write it like {_EXAMPLE}, or {_CLAIM_EXAMPLE} for a folder on a PersistentVolumeClaim"
        yield _problem(field, uri, "must begin with s3://, gs://, az:// or pvc://", remedy)
    elif "@" in parts.netloc:
        yield _problem(
            field,
            "(not shown)",
            "must not hold credentials",
            "put them into a Secret and name it in spec.storage.secretRef",
        )
    elif rule := (_claim_rule(uri) if scheme == CLAIM_SCHEME else _bucket_rule(parts)):
        example = _CLAIM_EXAMPLE if scheme == CLAIM_SCHEME else _EXAMPLE
        yield _problem(field, uri, rule, f"write it like {example}")
    elif parts.query or parts.fragment:
        yield _problem(field, uri, "must have no ? and no #", "leave out what follows them")
    elif "//" in parts.path or any(part in (".", "..") for part in parts.path.split("/")):
        yield _problem(field, uri, "must have no empty, . or .. part in its prefix", "leave those parts out")
    elif endpoint_of is not None and not _same_kind(scheme, endpoint_of):
        rule = f"must lie in the same kind of storage as {endpoint_of}, whose endpointUrl is used for both"
        yield _problem(field, uri, rule, "use one kind of storage, or name no endpointUrl")


def _same_kind(scheme: str, other: str) -> bool:
    """A claim has no endpoint, and lies beside any bucket."""
    return len({scheme, other.partition(":")[0]} - {CLAIM_SCHEME}) <= 1


def _bucket_rule(parts: SplitResult) -> str:
    """The rule that a bucket's name breaks; empty: none."""
    if not parts.netloc:
        return f"must name a bucket after {parts.scheme}://"
    if _BUCKETS[parts.scheme].match(parts.netloc):
        return ""
    return f"must name a bucket of 3 to 63 lower-case letters, digits{_BESIDES[parts.scheme]} and hyphens"


def _claim_rule(uri: str) -> str:
    """Likewise, of a claim and the folder on it."""
    try:
        claim_of(uri)
    except ValueError:
        return "must name a PersistentVolumeClaim of the namespace after pvc://"
    if not urlsplit(uri).path.strip("/"):
        return "must name a folder of the claim: what else lies on it belongs to others"
    return ""


def check_endpoint(url: str | None, *, field: str) -> Iterator[Problem]:
    """Of an S3 service or another; None is none. At most one problem."""
    if url is None:
        return
    remedy = f"write it like {_ENDPOINT_EXAMPLE}"
    if "@" in url.split("://")[-1].split("/")[0]:
        value, rule = "(not shown)", "must not hold credentials"
        remedy = "put them into a Secret and name it in secretRef"
    elif (rule := _broken(url)) != "":
        value = url
    else:
        return
    yield _problem(field, value, rule, remedy, reason=INVALID_ENDPOINT_URL)


def _broken(url: str) -> str:
    """The rule that an endpoint breaks; empty: none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"must be a URL with a port of 1 to 65535, or none ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be http:// or https:// and a host"
    return "must have a port of 1 to 65535, or none" if port == 0 else ""


def _problem(field: str, value: str, rule: str, remedy: str, *, reason: str = INVALID_STORAGE_URI) -> Problem:
    return Problem(field=field, value=repr(value), rule=rule, remedy=remedy, reason=reason)
