"""Which compression an object has, by the end of its name. Pure."""

from typing import Final, Literal

Compression = Literal["gzip", "zstd"]
_SUFFIXES: Final[dict[str, Compression]] = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd"}


def compression_of(key: str) -> Compression | None:
    return next((kind for suffix, kind in _SUFFIXES.items() if key.endswith(suffix)), None)


def without_compression(key: str) -> str:
    """`a.jsonl` of `a.jsonl.gz`."""
    return key.rpartition(".")[0] if compression_of(key) else key
