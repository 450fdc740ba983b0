"""Which StoreError an exception of botocore, aiohttp or s3fs is. Pure; messages never hold a credential."""

import asyncio
from collections.abc import Mapping
from typing import Any

import botocore.exceptions
from aiohttp import ClientError as HttpClientError

from deepseek_workloads.store.interface import (
    AccessDenied,
    AlreadyExists,
    BucketNotFound,
    InvalidCredentials,
    NotFound,
    ObjectChanged,
    StoreError,
    StoreUnavailable,
)

_INVALID_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidClientTokenId",
        "RequestTimeTooSkewed",
    }
)
_ACCESS_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"})
_NOT_FOUND = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})
_TRANSIENT = frozenset(
    {
        "SlowDown",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "RequestTimeoutException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "OperationAborted",
        "ConditionalRequestConflict",
        "XAmzContentSHA256Mismatch",
        "BadDigest",
        "IncompleteBody",
        "NoSuchUpload",  # of a multipart upload that another attempt has ended
    }
)
_NO_CREDENTIALS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
)
_CONNECTION_ERRORS = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ResponseStreamingError,
    HttpClientError,
    asyncio.IncompleteReadError,
    ConnectionError,
    TimeoutError,
)


def to_store_error(error: BaseException, *, uri: str) -> StoreError:
    """`uri` is the object (or prefix) that the request was about."""
    if isinstance(error, StoreError):
        return error
    client_error = _client_error(error)
    if client_error is not None:
        return _from_response(client_error, uri=uri)
    if isinstance(error, _NO_CREDENTIALS):
        return InvalidCredentials(f"{uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if isinstance(error, FileExistsError):
        return AlreadyExists(f"{uri}: the object exists already")
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{uri}: no such object; check the key and that it was written")
    if isinstance(error, _CONNECTION_ERRORS):
        return StoreUnavailable(
            f"{uri}: {type(error).__name__}: {error}; check the endpoint URL and the network"
        )
    return StoreError(f"{uri}: {type(error).__name__}: {error}")


def from_error(response: Mapping[str, Any], *, operation: str, uri: str) -> StoreError:
    """Of one object in the answer to a request about many."""
    return _from_response(botocore.exceptions.ClientError(dict(response), operation), uri=uri)


def _client_error(error: BaseException | None) -> botocore.exceptions.ClientError | None:
    """s3fs wraps what botocore raised; the code is in the cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, botocore.exceptions.ClientError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _from_response(error: botocore.exceptions.ClientError, *, uri: str) -> StoreError:
    detail = error.response.get("Error", {})
    code = str(detail.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"the store answered {status} {code}"
    if code == "NoSuchBucket":
        return BucketNotFound(f"{uri}: {said}; create the bucket or correct storage.uri")
    if code in _INVALID_CREDENTIALS:
        return InvalidCredentials(f"{uri}: {said}; check the keys in the credentials Secret and the clock")
    if code in _ACCESS_DENIED or status in (401, 403):
        return AccessDenied(f"{uri}: {said}; grant get, put, list and delete below the storage URI")
    if code in _NOT_FOUND:
        return NotFound(f"{uri}: {said}; check the key and that it was written")
    if code in ("PreconditionFailed", "412"):
        if (
            "IfMatch" in str(detail.get("Condition", "")).replace("-", "")
            or error.operation_name == "GetObject"
        ):
            return ObjectChanged(f"{uri}: {said}; the object was overwritten since it was pinned")
        return AlreadyExists(f"{uri}: the object exists already")
    if code in ("InvalidRange", "416"):
        return ObjectChanged(f"{uri}: {said}; the object is shorter than its record says")
    if code in _TRANSIENT or status in (409, 429) or (status >= 500 and status != 501):
        return StoreUnavailable(f"{uri}: {said}; the store is overloaded or down, try again later")
    return StoreError(f"{uri}: {said}: {detail.get('Message', '')}")
