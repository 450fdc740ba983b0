"""Checksums as they are written: `xxh3-64:<hex>` of a chunk, `xxh3-128:<hex>` of an object."""

import xxhash


def chunk_checksum(content: bytes | memoryview) -> str:
    return f"xxh3-64:{xxhash.xxh3_64_hexdigest(content)}"


def object_checksum(content: bytes | memoryview) -> str:
    return f"xxh3-128:{xxhash.xxh3_128_hexdigest(content)}"
