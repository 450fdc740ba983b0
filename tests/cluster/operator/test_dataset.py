"""A dataset, and the job that waits for it."""

import json
from typing import Any

from harness.kubectl import Kubectl, condition
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import DriftVerdict, Verdict

DIGEST = "sha256:" + "e" * 64
DEADLINE = 180.0
PREPARED = Verdict(
    outcome="Succeeded",
    reason="Completed",
    digest=DIGEST,
    uri="s3://data/docs",
    statistics={"documents": 120, "tokens": 45_000},
)


def wait_for_state(kubectl: Kubectl, kind: str, name: str, state: str) -> Any:
    return wait_until(
        lambda: kubectl.get(kind, name),
        holds=lambda found: (found or {}).get("status", {}).get("state") == state,
        what=f"{kind} {name} in state {state}",
        deadline_seconds=DEADLINE,
    )


def test_a_dataset_is_prepared_by_its_own_pods(
    operator: Any, kubectl: Kubectl, pods: Any, a_dataset: Any
) -> None:
    kubectl.apply(a_dataset())
    pods.wait_for("dsdata-docs-coordinator-1", "dsdata-docs-worker-0-1")
    pods.finish("dsdata-docs-coordinator-1", verdict=PREPARED)
    status = wait_for_state(kubectl, "dsdata", "docs", "Succeeded")["status"]
    assert (status["digest"], status["documents"], status["tokens"]) == (DIGEST, 120, 45_000)
    pods.wait_for()
    row = kubectl.run("get", "dsdata", "docs", "--no-headers").split()
    assert row[0:2] == ["docs", "Succeeded"]
    assert {"120", "45000", "e" * 12} <= set(row)


def test_a_drift_check_that_was_missed_is_made_up_for_and_told(
    operator: Any, kubectl: Kubectl, pods: Any, a_dataset: Any
) -> None:
    kubectl.apply(a_dataset(driftCheck={"schedule": "0 0 1 1 *"}))
    pods.wait_for("dsdata-docs-coordinator-1", "dsdata-docs-worker-0-1")
    pods.finish("dsdata-docs-coordinator-1", verdict=PREPARED)
    wait_for_state(kubectl, "dsdata", "docs", "Succeeded")
    long_ago = {"status": {"driftCheck": {"lastScheduleTime": "2001-01-01T00:00:00Z"}}}
    kubectl.run(
        *("patch", "dsdata", "docs", "--subresource=status", "--type=merge", "-p", json.dumps(long_ago))
    )
    [name] = wait_until(
        lambda: [each for each in pods.names() if "drift-check" in each],
        holds=bool,
        what="the pod of the drift check",
        deadline_seconds=DEADLINE,
    )
    drifted = DriftVerdict(outcome="Compared", new_objects=2, documents=500, divergences={"length": 0.4})
    pods.finish(name, verdict=drifted)
    found = wait_until(
        lambda: kubectl.get("dsdata", "docs"),
        holds=lambda found: condition(found, "DriftDetected")["status"] == "True",
        what="the condition DriftDetected",
        deadline_seconds=DEADLINE,
    )
    assert found["status"]["driftCheck"]["divergences"] == [{"name": "length", "value": "0.4"}]
    assert found["status"]["state"] == "Succeeded"
    pods.wait_for()


def test_a_job_waits_for_its_dataset_and_pins_its_digest(
    operator: Any, kubectl: Kubectl, pods: Any, a_dataset: Any, a_job: Any
) -> None:
    sources = [{"name": "docs", "datasetRef": {"name": "docs"}}]
    kubectl.apply(a_job(data={"sources": sources, "sequenceLength": 128}))
    waiting = condition(wait_for_state(kubectl, "dsjob", "tiny", "Waiting"), "DatasetsReady")
    assert waiting["reason"] == "DatasetNotReady"
    assert "does not exist" in waiting["message"]
    assert pods.names() == []

    kubectl.apply(a_dataset())
    pods.wait_for("dsdata-docs-coordinator-1", "dsdata-docs-worker-0-1")
    pods.finish("dsdata-docs-coordinator-1", verdict=PREPARED)
    pods.wait_for("dsjob-tiny-coordinator-1", "dsjob-tiny-worker-0-1", "dsjob-tiny-worker-1-1")
    job = wait_until(
        lambda: kubectl.get("dsjob", "tiny"),
        holds=lambda found: (found or {})["status"].get("datasets"),
        what="the pinned dataset in the job's status",
        deadline_seconds=DEADLINE,
    )
    assert (job or {})["status"]["datasets"] == [{"name": "docs", "uri": "s3://data/docs", "digest": DIGEST}]


def test_a_revision_made_by_hand_is_recorded(operator: Any, kubectl: Kubectl) -> None:
    revision = {
        "apiVersion": "deepseek.dev/v1alpha1",
        "kind": "DeepSeekModelRevision",
        "metadata": {"name": "by-hand"},
        "spec": {"storageUri": "s3://models/x/exports/y", "digest": DIGEST},
    }
    kubectl.apply(revision)
    found = wait_for_state(kubectl, "dsrev", "by-hand", "Recorded")
    assert found["status"]["observedGeneration"] == 1
    assert condition(found, "Accepted")["status"] == "True"
