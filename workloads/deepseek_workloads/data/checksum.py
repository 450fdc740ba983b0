"""Checksums as they are written: `xxh3-64:<hex>` of a chunk, `xxh3-128:<hex>` of an object."""

from collections.abc import Iterable

import xxhash


def chunk_checksum(content: bytes | memoryview) -> str:
    return f"xxh3-64:{xxhash.xxh3_64_hexdigest(content)}"


def object_checksum(content: bytes | memoryview) -> str:
    return object_checksum_of_parts([content])


def object_checksum_of_parts(parts: Iterable[bytes | memoryview]) -> str:
    """That of the parts joined, which are never held together."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part)
    return f"xxh3-128:{digest.hexdigest()}"
