"""Storage URIs and endpoints: a scheme that is known, a bucket or port that can be, no credentials in it."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from deepseek_workloads.contract.storage_schemes import STORAGE_SCHEMES
from deepseek_workloads.plan.problem import Problem

INVALID_STORAGE_URI: Final = "InvalidStorageUri"
INVALID_ENDPOINT_URL: Final = "InvalidEndpointUrl"
_BUCKETS: Final = {
    "s3": re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
    "gs": re.compile(r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$"),
    "az": re.compile(r"^(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"),
}
_BESIDES: Final = {"s3": ", dots", "gs": ", dots, underscores", "az": ""}  # that a name may hold
_AZURE_ALIASES: Final = ("abfs", "abfss", "adl", "wasb", "wasbs")
_EXAMPLE: Final = "s3://my-bucket/my-prefix"
_ENDPOINT_EXAMPLE: Final = "https://s3.example.com:9000"


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
    elif scheme not in STORAGE_SCHEMES:
        yield _problem(field, uri, "must begin with s3://, gs:// or az://", f"write it like {_EXAMPLE}")
    elif "@" in parts.netloc:
        yield _problem(
            field,
            "(not shown)",
            "must not hold credentials",
            "put them into a Secret and name it in spec.storage.secretRef",
        )
    elif not parts.netloc:
        yield _problem(field, uri, f"must name a bucket after {scheme}://", f"write it like {_EXAMPLE}")
    elif not _BUCKETS[scheme].match(parts.netloc):
        rule = f"must name a bucket of 3 to 63 lower-case letters, digits{_BESIDES[scheme]} and hyphens"
        yield _problem(field, uri, rule, f"write it like {_EXAMPLE}")
    elif parts.query or parts.fragment:
        yield _problem(field, uri, "must have no ? and no #", "leave out what follows them")
    elif "//" in parts.path or any(part in (".", "..") for part in parts.path.split("/")):
        yield _problem(field, uri, "must have no empty, . or .. part in its prefix", "leave those parts out")
    elif endpoint_of is not None and not endpoint_of.startswith(f"{scheme}://"):
        rule = f"must lie in the same kind of storage as {endpoint_of}, whose endpointUrl is used for both"
        yield _problem(field, uri, rule, "use one kind of storage, or name no endpointUrl")


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
