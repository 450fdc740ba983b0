"""Digests as they are written everywhere: `sha256:<64 hex digits>`."""

import hashlib
import re

DIGEST_PATTERN = re.compile(r"^sha256:[0-9a-f]{64}$")


def sha256_digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
