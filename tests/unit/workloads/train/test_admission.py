"""A newer image takes over a run that an older one began, with the run config that was pinned then."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_workloads.contract.run_config import Storage, TrainingRun, parse_run
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.train.admission import problems_of

# As a run config had them before experts' load was judged by `tokenShare`.
ALERTS = {
    "gradientNorm": {"threshold": 10.0, "action": "warn"},
    "activationRange": {"threshold": 15.0, "action": "warn"},
    "memory": {"threshold": 0.9, "action": "warn"},
    "lossSpike": {"threshold": 2.0, "action": "warn"},
    "expertLoad": {"threshold": 10.0, "action": "warn"},
    "notANumber": {"action": "stop"},
    "rollbackCheckpoints": 1,
    "maxRollbacks": 3,
}


def older(*, training: dict[str, Any] | None = None, **changes: Any) -> TrainingRun:
    document = {
        "kind": "training",
        "owner": {"namespace": "research", "name": "tiny", "uid": "uid-1"},
        "architecture": json.loads(PRESETS["deepseek-v3-tiny"].to_json()),
        "data": {"sources": [{"name": "docs", "storage": {"uri": "s3://docs"}}], "sequenceLength": 64},
        "training": {"steps": 10, "globalBatchSize": 4, **(training or {})},
        "alerts": ALERTS,
        "workers": {"numNodes": 1},
        "storage": {"uri": "s3://models/tiny"},
        **changes,
    }
    run = parse_run(json.dumps(document))
    assert isinstance(run, TrainingRun)
    return run


@pytest.fixture
def store(tmp_path: Path) -> FileObjectStore:
    return FileObjectStore(tmp_path / "run")


def refused(run: TrainingRun, store: ObjectStore) -> list[str]:
    def open_store(_: Storage) -> ObjectStore:
        return store

    return [problem.field for problem in problems_of(run, open_store)]


WITHOUT_EFFECT = {
    "monitoring.histogramsEverySteps": older(monitoring={"histogramsEverySteps": 11}),
    "checkpoint.keepBest.metric": older(checkpoint={"keepBest": {"metric": "gradientNrom"}}),
    "training.curriculum[0].untilStep": older(
        training={"curriculum": [{"untilStep": 11, "sequenceLength": 32}]}
    ),
    "evaluation.everySteps": older(training={"entrypoint": "mine:train"}, evaluation={"everySteps": 5}),
    "alerts.memory.threshold": older(alerts={**ALERTS, "memory": {"threshold": 90.0, "action": "warn"}}),
    "training.distillation.alpha": older(
        training={"distillation": {"teacher": {"uri": "s3://models/large"}, "alpha": 0}}
    ),
    "workers.resources.memory": older(workers={"numNodes": 1, "memoryBytes": 2**20}),
}


@pytest.mark.parametrize("field", WITHOUT_EFFECT)
def test_rules_that_became_stricter_refuse_what_is_new_only(field: str, store: FileObjectStore) -> None:
    run = WITHOUT_EFFECT[field]
    assert refused(run, store) == [f"spec.{field}"]
    begin(store, uid="another")
    assert refused(run, store) == [f"spec.{field}"]
    begin(store, uid=run.owner.uid)
    assert refused(run, store) == []


def begin(store: ObjectStore, *, uid: str) -> None:
    CommitLog(store).begin_epoch(run_config_digest="sha256:0", owner_uid=uid)


def test_what_cannot_be_computed_is_refused_of_a_run_that_has_begun_too(store: FileObjectStore) -> None:
    begin(store, uid="uid-1")
    run = older(training={"curriculum": [{"untilStep": 5, "sequenceLength": 48}]})
    assert refused(run, store) == ["spec.training.curriculum[0].sequenceLength"]


@pytest.mark.parametrize("load", [{}, {"tokenShare": 0.75}, {"tokenShare": 0.75, "idleShare": 0.25}])
def test_alerts_that_nobody_gave_are_not_refused_beside_an_entrypoint(
    store: FileObjectStore, load: dict[str, float]
) -> None:
    """Whatever the defaults were when the run began."""
    alerts = {**ALERTS, "expertLoad": {"threshold": 10.0, "action": "warn", **load}}
    run = older(training={"entrypoint": "mine:train"}, alerts=alerts)
    assert refused(run, store) == []
    given = older(training={"entrypoint": "mine:train"}, alerts={**ALERTS, "maxRollbacks": 4})
    assert refused(given, store) == ["spec.alerts"]
