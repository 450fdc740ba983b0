"""Keys that a stored document may name: below the place that the document lies at, and nowhere else.

Whoever can write to a bucket can write such a document; what reads it has more rights than that.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

MAX_KEY_BYTES: Final = 1024  # S3's limit


def _inside(key: str) -> str:
    if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        raise ValueError(f"a key has at most {MAX_KEY_BYTES} bytes")
    if any(part in ("", ".", "..") for part in key.removesuffix("/").split("/")):
        raise ValueError(f"{key!r} is no key below the document's own place: no leading '/', no '..'")
    if "\\" in key or not key.isprintable():
        raise ValueError(f"{key!r} is no key: no backslash, no control character")
    return key


RelativePrefix = Annotated[str, Field(pattern="/$"), AfterValidator(_inside)]
RelativeKey = Annotated[str, Field(pattern="[^/]$"), AfterValidator(_inside)]
