"""Records of the finished parts of a work that several processes share, and that goes on after a restart.

A process puts the files of a part first and its record last: a part that has a record is not done again. It
does not know what the parts are, nor what a record says.
"""

from contextlib import suppress

from deepseek_workloads.store.interface import AlreadyExists, ByteRange, ObjectStore


def put_record(store: ObjectStore, prefix: str, number: int, document: bytes) -> None:
    """From here on the part is done. Where another process has done the same part, its record stays."""
    with suppress(AlreadyExists):
        store.create(_key(prefix, number), document)


def read_records(store: ObjectStore, prefix: str) -> dict[int, bytes]:
    """Those that there are, by the number of their part. `prefix` ends with a slash."""
    infos = list(store.list(prefix))
    contents = store.read_ranges([ByteRange(info.key, 0, info.size, info.etag) for info in infos])
    numbers = [int(info.key.rpartition("/")[2].removesuffix(".json")) for info in infos]
    return dict(zip(numbers, contents, strict=True))


def delete_record(store: ObjectStore, prefix: str, number: int) -> None:
    """The part is to be done again."""
    store.delete([_key(prefix, number)])


def _key(prefix: str, number: int) -> str:
    return f"{prefix}{number:05d}.json"
