"""Which StoreError an exception of obstore is. Pure; messages never hold a credential."""

import re

from obstore import exceptions

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

_NO_BUCKET = re.compile("<Code>(NoSuchBucket|ContainerNotFound)</Code>")
_QUERY = re.compile(r"\?[^\s\"',)]+")  # of a URL: it may be signed
_LONGEST = 300


def to_store_error(error: BaseException, *, uri: str) -> StoreError:
    """`uri` is the object (or prefix) that the request was about."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, exceptions.AlreadyExistsError):
        return AlreadyExists(f"{uri}: the object exists already")
    if isinstance(error, exceptions.PreconditionError):
        return ObjectChanged(f"{uri}: the object was overwritten since it was pinned")
    if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
        if _NO_BUCKET.search(str(error)):
            return BucketNotFound(f"{uri}: no such bucket; create it or correct storage.uri")
        return NotFound(f"{uri}: no such object; check the key and that it was written")
    if isinstance(error, exceptions.UnauthenticatedError):
        return InvalidCredentials(
            f"{uri}: {_said(error)}; check the keys in the credentials Secret and the clock"
        )
    if isinstance(error, exceptions.PermissionDeniedError):
        return AccessDenied(
            f"{uri}: {_said(error)}; check the keys in the credentials Secret, and grant get, put, list and "
            "delete below the storage URI"
        )
    if isinstance(error, exceptions.GenericError | ConnectionError | TimeoutError):
        return StoreUnavailable(f"{uri}: {_said(error)}; check the endpoint URL and the network")
    return StoreError(f"{uri}: {type(error).__name__}: {_said(error)}")


def _said(error: BaseException) -> str:
    """The first line, without what signs a URL."""
    first = str(error).split("\n", 1)[0]
    return _QUERY.sub("?...", first)[:_LONGEST]
