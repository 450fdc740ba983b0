"""What goes wrong with pods and nodes, and what the job then says and does."""

from typing import Any

import pytest
from harness.kubectl import Kubectl, condition
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import Verdict

COORDINATOR = "dsjob-tiny-coordinator-1"
WORKERS = ("dsjob-tiny-worker-0-1", "dsjob-tiny-worker-1-1")
DEADLINE = 180.0
GPU_POOL = {
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
}


def wait_for(kubectl: Kubectl, type_: str, status: str, reason: str) -> str:
    """The condition's message."""

    def holds(job: Any) -> bool:
        found = condition(job, type_)
        return (found["status"], found["reason"]) == (status, reason)

    what = f"condition {type_}={status} {reason}"
    job = wait_until(lambda: kubectl.get("dsjob", "tiny"), holds=holds, what=what, deadline_seconds=DEADLINE)
    return str(condition(job, type_)["message"])


def status_of(kubectl: Kubectl) -> Any:
    return (kubectl.get("dsjob", "tiny") or {}).get("status", {})


def on(node: Any) -> dict[str, Any]:
    """Everything of the job is placed on that node."""
    resources = {"cpu": "100m", "memory": "1Gi"}
    return {
        "coordinator": node.placement,
        "workers": {"numNodes": 2, "resources": resources, **node.placement},
    }


def a_neighbour(node: Any, *, cpu: str) -> dict[str, Any]:
    """A pod of somebody else, which takes so much of the node."""
    container = {
        "name": "main",
        "image": "registry.example/other:1",
        "resources": {"requests": {"cpu": cpu}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": security, **node.placement}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "neighbour"}, "spec": spec}


def let_the_run_end(pods: Any, coordinator: str) -> None:
    """It has written its checkpoint; its pods end when they are told to."""
    pods.finish(coordinator, verdict=Verdict(outcome="Stopped", reason="Stopped", step=7))

    def leaving() -> list[str]:
        return [name for name in pods.names() if name not in pods.active() and "coordinator" not in name]

    for name in wait_until(leaving, holds=bool, what="pods that end", deadline_seconds=DEADLINE):
        pods.let_go(name)


def test_a_job_with_min_nodes_goes_on_with_the_nodes_there_are_and_grows_again(
    operator: Any, kubectl: Kubectl, pods: Any, hand_node: Any, coordinator: Any, a_job: Any
) -> None:
    kubectl.apply(a_neighbour(hand_node, cpu="12"))
    wait_until(
        lambda: (kubectl.get("pod", "neighbour") or {})["spec"].get("nodeName"),
        holds=bool,
        what="the neighbour on the node",
        deadline_seconds=DEADLINE,
    )
    half = {"cpu": "16", "memory": "1Gi"}  # of the node, which has room for one besides the neighbour
    kubectl.apply(a_job(workers={"numNodes": 2, "minNodes": 1, "resources": half, **hand_node.placement}))
    pods.wait_for(COORDINATOR, "neighbour", *WORKERS)
    pods.run(COORDINATOR, ip=coordinator.address)
    wait_for(kubectl, "Resized", "False", "Resizing")
    let_the_run_end(pods, COORDINATOR)
    smaller = ("dsjob-tiny-coordinator-2", "dsjob-tiny-worker-0-2")
    pods.wait_for("neighbour", "dsjob-tiny-standby-1-1", *smaller)
    assert "1 of 2 nodes" in wait_for(kubectl, "Resized", "False", "NodesMissing")
    assert status_of(kubectl)["nodes"] == 1

    pods.let_go("neighbour")
    wait_for(kubectl, "Resized", "False", "Resizing")
    let_the_run_end(pods, "dsjob-tiny-coordinator-2")
    pods.wait_for("dsjob-tiny-coordinator-3", "dsjob-tiny-worker-0-3", "dsjob-tiny-worker-1-2")
    wait_for(kubectl, "Resized", "True", "Resized")
    assert (status_of(kubectl)["nodes"], status_of(kubectl)["restarts"]) == (2, 0)


def test_a_deleted_worker_is_replaced_and_does_not_count(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    kubectl.apply(a_job(runPolicy={"backoffLimit": 0}))
    pods.wait_for(COORDINATOR, *WORKERS)
    kubectl.delete("pod", WORKERS[0], "--wait=false")
    pods.wait_for(COORDINATOR, "dsjob-tiny-worker-0-2", WORKERS[1])
    assert status_of(kubectl).get("failures", 0) == 0


def test_a_coordinator_that_dies_without_a_verdict_is_replaced_and_workers_find_the_new_one(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    pods.finish(COORDINATOR, exit_code=1)
    pods.wait_for("dsjob-tiny-coordinator-2", *WORKERS)
    service = kubectl.get("service", "dsjob-tiny-coordinator")
    assert service is not None
    assert service["spec"]["selector"]["deepseek.dev/incarnation"] == "2"
    wait_for(kubectl, "PodsReady", "True", "PodsReady")
    assert status_of(kubectl)["failures"] == 1


def test_pods_of_a_lost_node_are_replaced_while_they_hang_on_it(
    operator: Any, kubectl: Kubectl, pods: Any, hand_node: Any, a_job: Any
) -> None:
    kubectl.apply(a_job(coordinator={}, workers={**on(hand_node)["workers"], "numNodes": 1}))
    pods.wait_for(COORDINATOR, WORKERS[0])
    pods.run(WORKERS[0])
    hand_node.silence()
    pods.wait_for(COORDINATOR, "dsjob-tiny-worker-0-2")
    assert WORKERS[0] in pods.names()  # Terminating, since no kubelet lets it go
    message = wait_for(kubectl, "PodsReady", "False", "Unschedulable")  # nowhere else to go
    assert "node" in message
    assert status_of(kubectl).get("failures", 0) == 0
    assert "lost with its node" in status_of(kubectl)["lastFailure"]


def test_out_of_memory_is_reported_as_such_beside_the_limit(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    kubectl.apply(a_job(runPolicy={"backoffLimit": 1}))
    pods.wait_for(COORDINATOR, *WORKERS)
    pods.finish(WORKERS[0], exit_code=137, reason="OOMKilled")
    pods.wait_for(COORDINATOR, "dsjob-tiny-worker-0-2", WORKERS[1])
    pods.finish("dsjob-tiny-worker-0-2", exit_code=137, reason="OOMKilled")
    message = wait_for(kubectl, "Failed", "True", "OOMKilled")
    assert "1Gi" in message
    assert "estimate" in message
    pods.wait_for()  # its nodes are free


def test_an_image_that_cannot_be_pulled_frees_the_node_at_the_startup_deadline(
    operator: Any, kubectl: Kubectl, pods: Any, hand_node: Any, a_job: Any
) -> None:
    kubectl.apply(a_job(**on(hand_node), runPolicy={"startupDeadlineSeconds": 15}))
    pods.wait_for(COORDINATOR)
    pods.wait_in(
        COORDINATOR, reason="ImagePullBackOff", message='Back-off pulling image "registry.example/worker:1"'
    )
    assert "Back-off pulling image" in wait_for(kubectl, "Failed", "True", "ImagePullFailed")
    pods.wait_for()
    assert pods.names() == [COORDINATOR]  # Terminating; no worker was ever created


def test_a_job_that_fits_nowhere_stays_pending_with_the_schedulers_words(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    resources = {"cpu": "1", "memory": "8Gi", "gpu": 8}
    kubectl.apply(a_job(workers={"numNodes": 1, "numProcPerNode": 8, "resources": resources, **GPU_POOL}))
    message = wait_for(kubectl, "PodsReady", "False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in message
    assert status_of(kubectl)["state"] == "Pending"
    assert condition(kubectl.get("dsjob", "tiny"), "Failed")["status"] == "False"  # waiting is no failure


def test_gpus_are_taken_from_the_pool(operator: Any, kubectl: Kubectl, pods: Any, a_job: Any) -> None:
    resources = {"cpu": "1", "memory": "8Gi", "gpu": 2}
    kubectl.apply(a_job(workers={"numNodes": 1, "numProcPerNode": 2, "resources": resources, **GPU_POOL}))
    pods.wait_for(COORDINATOR, WORKERS[0])
    worker, coordinator = kubectl.get("pod", WORKERS[0]), kubectl.get("pod", COORDINATOR)
    assert worker is not None
    assert coordinator is not None
    assert worker["spec"]["nodeName"] == "node2"
    assert worker["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in coordinator["spec"]["containers"][0]["resources"]["limits"]


def test_a_quota_that_forbids_pods_is_told_and_the_job_goes_on_when_it_is_raised(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "1"}},
    }
    kubectl.apply(quota)
    wait_until(
        lambda: (kubectl.get("resourcequota", "q") or {}).get("status", {}).get("hard"),
        holds=bool,
        what="the quota in force",
        deadline_seconds=DEADLINE,
    )
    kubectl.apply(a_job())
    assert "exceeded quota" in wait_for(kubectl, "PodsReady", "False", "RefusedByCluster")
    kubectl.delete("resourcequota", "q")
    pods.wait_for(COORDINATOR, *WORKERS)
    wait_for(kubectl, "PodsReady", "True", "PodsReady")


def test_a_name_that_somebody_else_has_is_told_and_nothing_of_theirs_is_touched(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "dsjob-tiny-run"},
        "data": {"a": "b"},
    }
    kubectl.apply(theirs)
    kubectl.apply(a_job())
    assert "dsjob-tiny-run" in wait_for(kubectl, "Accepted", "False", "NameConflict")
    assert pods.names() == []
    assert (kubectl.get("configmap", "dsjob-tiny-run") or {})["data"] == {"a": "b"}
    kubectl.delete("configmap", "dsjob-tiny-run")
    pods.wait_for(COORDINATOR, *WORKERS)


@pytest.mark.parametrize("reason", ["InvalidCredentials", "DatasetDigestMismatch", "NumericFailure"])
def test_a_final_verdict_ends_the_job_with_its_reason_and_words(
    operator: Any, kubectl: Kubectl, pods: Any, hand_node: Any, a_job: Any, reason: str
) -> None:
    kubectl.apply(a_job(**on(hand_node)))
    pods.wait_for(COORDINATOR)
    pods.run(COORDINATOR, ready=False)  # in its preflight
    verdict = Verdict(outcome="Failed", reason=reason, message="what to do about it", exit_code=3)
    pods.finish(COORDINATOR, exit_code=3, verdict=verdict)
    assert "what to do about it" in wait_for(kubectl, "Failed", "True", reason)
    assert pods.names() == [COORDINATOR]  # no worker was started
    warnings = [event["reason"] for event in kubectl.events("tiny") if event["type"] == "Warning"]
    assert reason in warnings
