"""A local Kubernetes of its own with everything that a job needs, for benchmarks of the whole path."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.kubectl import condition
from harness.platform import BUCKET, Platform, install
from report import say
from timeline import Record, records

from local_kubernetes import Settings, down, up

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "deepseek-operator"
TEXT_BYTES = 400_000


@contextmanager
def platform() -> Iterator[Platform]:
    settings = Settings(name="bench")
    cluster = up(settings, report=say)
    try:
        with tempfile.TemporaryDirectory() as work:
            yield install(cluster, cache=CACHE, work=Path(work), say=say)
    finally:
        down(settings.state_dir)


def fresh_name(what: str) -> str:
    """Storage outlives the cluster: nothing is measured on what an earlier benchmark left there."""
    return f"{what}-{int(time.time()):x}"


def prepare_dataset(found: Platform) -> str:
    """Small, of this repository's own documents: what it holds does not matter for a start."""
    raw_uri = f"s3://{BUCKET}/{fresh_name('raw')}"
    texts = sorted(path for pattern in ("**/*.md", "**/*.py") for path in ROOT.glob(pattern))
    taken = 0
    for path in texts:
        if ".venv" not in path.parts and taken < TEXT_BYTES:
            content = path.read_bytes()
            found.bucket.put(f"{raw_uri}/{path.name}", content)
            taken += len(content)
    change = {"sources": [{"name": "text", "uri": raw_uri, "format": "text"}]}
    name = found.apply_dataset(fresh_name("text"), raw_uri=raw_uri, change=change)
    dataset = found.wait_until_finished(name, kind="dsdata", deadline_seconds=600)
    if condition(dataset, "Succeeded")["status"] != "True":
        raise RuntimeError(f"no dataset to measure with: {condition(dataset, 'Failed')['message']}")
    return name


def job_records(found: Platform, job: str, *, role: str) -> list[Record]:
    """Of the pods that are there now."""
    names = [pod["metadata"]["name"] for pod in found.pods(job, role=role)]
    return [record for name in names for record in records(name, _logs(found, name))]


def _logs(found: Platform, pod: str) -> str:
    try:
        return found.kubectl.logs(pod, "--timestamps")
    except AssertionError:  # not started yet
        return ""


def endless(change: dict[str, Any] | None = None) -> dict[str, Any]:
    """A job that does not end by itself while it is measured."""
    return {"training": {"steps": 1_000_000}, "checkpoint": {"everySteps": 10}, **(change or {})}
