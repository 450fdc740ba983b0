"""Small files beside shards, read and verified: side by side, since a dataset may have thousands."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from deepseek_workloads.data.checksum import object_checksum
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore

_TOGETHER: Final = 16  # requests


def read_verified(store: ObjectStore, files: Sequence[tuple[str, str]]) -> list[bytes]:
    """`files`: key and checksum of each. Raises ObjectChanged where one is not what the manifest names, and
    the StoreErrors of reading."""

    def read(file: tuple[str, str]) -> bytes:
        key, checksum = file
        content = store.read(key)
        if object_checksum(content) != checksum:
            raise ObjectChanged(
                f"{store.uri}: {key}: its checksum is not the manifest's: restore it, or prepare the dataset "
                "again"
            )
        return content

    with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="shard-files") as pool:
        return list(pool.map(read, files))
