"""The example Job that computes a teacher's logits, on a real API server and Job controller."""

from pathlib import Path
from typing import Any

import yaml
from harness.kubectl import Kubectl
from harness.waiting import wait_until

EXAMPLE = Path(__file__).parents[3] / "manifests/examples/teacher-logits-job.yaml"
INDEX = "batch.kubernetes.io/job-completion-index"
DEADLINE = 60.0


def test_its_pods_are_admitted_under_pod_security_each_with_its_rank(kubectl: Kubectl) -> None:
    job: Any = yaml.safe_load(EXAMPLE.read_text())
    kubectl.apply(job, options=("--validate=strict",))
    pods = wait_until(
        lambda: kubectl.items("pods", selector="job-name=teacher-logits"),
        holds=lambda found: len(found) == job["spec"]["completions"],
        what="pods of job teacher-logits",
        deadline_seconds=DEADLINE,
    )
    assert sorted(pod["metadata"]["annotations"][INDEX] for pod in pods) == ["0", "1"]
    for pod in pods:
        (rank,) = [each for each in pod["spec"]["containers"][0]["env"] if each["name"] == "RANK"]
        assert rank["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.annotations['{INDEX}']"
