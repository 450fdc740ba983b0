"""Pods and observations to be varied by each test."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.status.observed import ContainerExit, PodFacts
from deepseek_operator.validation.training_job import training_run_of
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.run_config import Storage, TrainingRun

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
MakePod = Callable[..., PodFacts]


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def make_pod() -> MakePod:
    """`make_pod("worker", 1, phase="Failed")`: by default a pod that runs, created a minute ago."""

    def make(role: str = "worker", index: int = 0, **changes: Any) -> PodFacts:
        incarnation = changes.pop("incarnation", 1)
        place = role if role == "coordinator" else f"{role}-{index}"
        facts: dict[str, Any] = {
            "name": f"dsjob-tiny-{place}-{incarnation}",
            "uid": f"uid-{place}-{incarnation}",
            "role": role,
            "index": index,
            "incarnation": incarnation,
            "created_at": NOW - timedelta(seconds=60),
            "scheduled_at": NOW - timedelta(seconds=59),
            "phase": "Running",
            "ready": True,
            "node": "node1",
            "ip": "10.0.0.1",
        }
        return PodFacts(**(facts | changes))

    return make


@pytest.fixture
def make_ended(make_pod: MakePod) -> MakePod:
    """A coordinator that ended with this verdict."""

    def make(verdict: Verdict, **changes: Any) -> PodFacts:
        ended = ContainerExit(
            exit_code=verdict.exit_code, message=verdict.to_json().decode(), finished_at=NOW
        )
        phase = "Succeeded" if verdict.exit_code == 0 else "Failed"
        return make_pod("coordinator", phase=phase, ready=False, exit=ended, **changes)

    return make


@pytest.fixture
def run(make_job: Any) -> TrainingRun:
    ready = PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest="sha256:" + "0" * 64)
    return training_run_of(make_job(), datasets={"docs": ready})
