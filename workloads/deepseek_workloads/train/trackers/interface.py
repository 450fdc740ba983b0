"""What a run tells an experiment tracker: points of curves. It knows no service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deepseek_workloads.contract.run_config import TrainingRun


@dataclass(frozen=True)
class Point:
    step: int
    time: float  # seconds since the epoch
    scalars: Mapping[str, float]  # finite


class Tracker(Protocol):
    """One run there for one job, whatever the number of restarts. Every method may block, and may raise
    anything: the thread that calls them stands it."""

    def log(self, points: Sequence[Point]) -> None: ...

    def close(self, *, finished: bool) -> None:
        """`finished`: the job has come to its end; else it goes on, in another process."""
        ...


def described(run: TrainingRun) -> dict[str, Any]:
    """What a reader of the curves wants to know of a run: JSON values, no locations and no credentials."""
    document = run.model_dump(mode="json", by_alias=True, exclude_none=True)
    sources = [
        {name: source[name] for name in ("name", "digest", "weight") if name in source}
        for source in document["data"]["sources"]
    ]
    return {
        "job": f"{run.owner.namespace}/{run.owner.name}",
        "backend": run.backend,
        "architecture": document["architecture"],
        "data": {**document["data"], "sources": sources},
        "training": document["training"],
        "workers": document["workers"],
    }
