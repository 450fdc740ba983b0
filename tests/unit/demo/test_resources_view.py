"""What the demo shows of resources, and when it decides that a run has failed."""

from typing import Any

import pytest

from deepseek_demo.resources_view import (
    active_revision,
    doing,
    failure,
    is_true,
    percent,
    refused_revision,
    rows,
    waits_for,
)


def resource(kind: str = "DeepSeekTrainingJob", **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "tiny"}, "status": status}


def condition(kind: str, status: str, reason: str = "Reason", message: str = "words", at: int = 0) -> Any:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": f"2026-11-22T00:00:{at:02}Z",
    }


def test_a_resource_without_status_is_neither_done_nor_failed() -> None:
    bare = {"kind": "DeepSeekDataset", "metadata": {"name": "docs"}}
    assert failure(bare) is None
    assert not is_true(bare, "Succeeded")
    assert percent(bare) == 0
    assert rows([bare], [], [], []) == [("dataset", "docs", "", "")]


@pytest.mark.parametrize(("kind", "status"), [("Failed", "True"), ("Accepted", "False")])
def test_a_final_condition_is_a_failure_in_its_own_words(kind: str, status: str) -> None:
    found = resource(conditions=[condition(kind, status, "NoBucket", "s3:// names no bucket")])
    assert failure(found) == "DeepSeekTrainingJob tiny: NoBucket: s3:// names no bucket"


def test_a_condition_that_may_still_change_is_no_failure() -> None:
    found = resource(conditions=[condition("Failed", "False"), condition("PodsReady", "False")])
    assert failure(found) is None


def test_the_newest_open_condition_is_what_is_waited_for() -> None:
    found = resource(
        conditions=[
            condition("Accepted", "True", at=1),
            condition("PodsReady", "False", "Starting", "0 of 2 worker pods run", at=3),
            condition("Running", "False", "Preflight", "the coordinator checks storage", at=2),
            condition("Failed", "False", "Running", "goes on", at=4),
        ]
    )
    assert waits_for(found) == "Starting: 0 of 2 worker pods run"


def test_a_run_at_work_waits_for_nothing() -> None:
    assert waits_for(resource(conditions=[condition("Running", "True")])) == ""


def test_a_run_at_work_with_a_warning_waits_for_nothing() -> None:
    conditions = [condition("Running", "True", "AtWork"), condition("Healthy", "False", "GradientNorm")]
    assert waits_for(resource(conditions=conditions)) == ""


def test_a_finished_run_waits_for_nothing() -> None:
    assert waits_for(resource(conditions=[condition("Running", "False", "Finished")])) == ""


def test_a_job_shows_step_loss_speed_and_time_left() -> None:
    found = resource(step=7, totalSteps=150, loss="3.21", tokensPerSecond=12345, eta="1m2s", progress="5%")
    assert doing(found) == "step 7/150, loss 3.21, 12,345 tokens/s, ETA 1m2s"
    assert percent(found) == 5


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"stage": "tokenize", "progress": "37%"}, "tokenize 37%"),
        ({"documents": 2749, "tokens": 4865737}, "2,749 documents, 4,865,737 tokens"),
    ],
)
def test_a_dataset_shows_its_stage_then_its_size(status: Any, text: str) -> None:
    assert doing(resource("DeepSeekDataset", **status)) == text


@pytest.mark.parametrize(
    ("containers", "state"),
    [
        ([], "Pending"),
        ([{"ready": True, "state": {"running": {}}}], "Ready"),
        ([{"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}}], "ImagePullBackOff"),
        ([{"ready": False, "state": {"terminated": {"reason": "OOMKilled"}}}], "OOMKilled"),
    ],
)
def test_a_pod_shows_why_it_does_not_run(containers: Any, state: str) -> None:
    pod = resource("Pod", phase="Pending", containerStatuses=containers) | {"spec": {"nodeName": "node2"}}
    assert rows([], [], [], [pod]) == [("pod", "tiny", state, "node2")]


def service(**status: object) -> dict[str, object]:
    return {"kind": "DeepSeekModelService", "metadata": {"name": "chat"}, "status": status}


def test_a_service_shows_its_active_revision_and_its_candidate() -> None:
    found = service(
        state="Available",
        active={"revision": "tiny-1"},
        candidate={"revision": "tiny-2", "phase": "Checking"},
    )
    (row,) = rows([], [], [found], [])
    assert row == ("service", "chat", "Available", "active tiny-1, candidate tiny-2: Checking")
    assert active_revision(found) == "tiny-1"
    assert refused_revision(found, "tiny-2") is None


def test_a_revision_that_failed_its_check_is_refused_in_the_words_of_the_service() -> None:
    candidate = {"revision": "tiny-2", "phase": "Failed", "reason": "CheckFailed", "message": "NaN"}
    found = service(active={"revision": "tiny-1"}, candidate=candidate)
    assert refused_revision(found, "tiny-2") == "CheckFailed: NaN"
    assert refused_revision(found, "tiny-1") is None
