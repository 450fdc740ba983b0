"""Does the store honour a conditional write? The commit log is only as safe as the answer.

Some stores accept `If-None-Match: *` and ignore it: two writers would both believe that they have committed.
"""

import uuid

from deepseek_workloads.contract import reasons
from deepseek_workloads.store.interface import AlreadyExists, ObjectStore, StoreError


class UnsafeStore(StoreError):
    reason = reasons.UNSAFE_STORE


def check_conditional_writes(store: ObjectStore) -> None:
    """Raises UnsafeStore when a second create of one key succeeds, or is refused and yet overwrites."""
    key = f"probe/{uuid.uuid4()}"
    first, second = b'{"probe":1}', b'{"probe":2}'
    _create_first(store, key, first)
    try:
        try:
            store.create(key, second)
        except AlreadyExists:
            if store.read(key) == first:
                return
        raise UnsafeStore(
            f"{store.uri}: the store ignores the condition that a write must create the object "
            "(If-None-Match on PutObject), so two writers could both commit; use a store with conditional "
            "writes (Amazon S3, Google Cloud Storage, Azure Blob Storage, MinIO, Ceph, versitygw, ...)"
        )
    finally:
        store.delete([key])


def _create_first(store: ObjectStore, key: str, content: bytes) -> None:
    try:
        store.create(key, content)
    except AlreadyExists:
        if store.read(key) != content:  # otherwise: the answer to the own first attempt was lost
            raise
