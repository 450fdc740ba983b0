"""Where things lie below a storage URI. Pure functions of names; no I/O."""

import re

LOG_PREFIX = "log/"
DATA_PREFIX = "data/"
RUNS_PREFIX = "runs/"
DATASET_MANIFEST = "manifest.json"
_DIGEST_IN_URI = re.compile(r"/sha256-(?P<hex>[0-9a-f]{64})/?$")


def log_key(index: int) -> str:
    """`log/00000042.json`; the log is dense, its first index is 1."""
    return f"{LOG_PREFIX}{index:08d}.json"


def log_index(key: str) -> int:
    """The inverse of `log_key`. Raises ValueError for a key that is not one of the log."""
    name = key.removeprefix(LOG_PREFIX)
    if not key.startswith(LOG_PREFIX) or not name.endswith(".json") or len(name) != 13:
        raise ValueError(f"{key!r} is not a key of the commit log ({log_key(1)!r} is one)")
    return int(name.removesuffix(".json"))


def data_prefix(attempt: str) -> str:
    """The fresh prefix under which one attempt (a UUID) writes its files before it publishes them."""
    return f"{DATA_PREFIX}{attempt}/"


def export_prefix(digest: str) -> str:
    """`exports/sha256-<hex>/`: a colon is not safe in every tool that handles keys."""
    return f"exports/{digest.replace(':', '-')}/"


def digest_in_uri(uri: str) -> str | None:
    """The digest that the last segment of an export's URI is; None: the export was put elsewhere."""
    named = _DIGEST_IN_URI.search(uri)
    return f"sha256:{named['hex']}" if named else None


def run_prefix(epoch: int) -> str:
    """Metrics, TensorBoard files and logs of one epoch."""
    return f"runs/{epoch:08d}/"


def join_uri(uri: str, key: str) -> str:
    return f"{uri.rstrip('/')}/{key}"
