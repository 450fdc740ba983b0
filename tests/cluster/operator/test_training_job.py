"""A training job on a real API server: what a user sees of it, from apply to the recorded model."""

import json
from typing import Any

from harness.kubectl import Kubectl, condition
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import Progress, Verdict

COORDINATOR = "dsjob-tiny-coordinator-1"
WORKERS = ("dsjob-tiny-worker-0-1", "dsjob-tiny-worker-1-1")
DIGEST = "sha256:" + "d" * 64
SUCCESS = Verdict(
    outcome="Succeeded",
    reason="Completed",
    message="trained for 20 steps",
    epoch=1,
    step=20,
    consumed_samples=160,
    digest=DIGEST,
    uri="s3://models/tiny/exports/sha256-d",
    evaluation={"held_out_bits_per_byte": 2.125},
)
DEADLINE = 180.0


def wait_for_state(kubectl: Kubectl, state: str, *, kind: str = "dsjob", name: str = "tiny") -> Any:
    return wait_until(
        lambda: kubectl.get(kind, name),
        holds=lambda job: (job or {}).get("status", {}).get("state") == state,
        what=f"{kind} {name} in state {state}",
        deadline_seconds=DEADLINE,
    )


def wait_for_condition(kubectl: Kubectl, type_: str, status: str, reason: str, *, name: str = "tiny") -> Any:
    def holds(job: Any) -> bool:
        found = condition(job, type_)
        return (found["status"], found["reason"]) == (status, reason)

    what = f"dsjob {name} with {type_}={status} {reason}"
    job = wait_until(lambda: kubectl.get("dsjob", name), holds=holds, what=what, deadline_seconds=DEADLINE)
    return condition(job, type_)


def test_a_job_gets_its_pods_under_pod_security_and_its_model_is_recorded(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    wait_for_condition(kubectl, "PodsReady", "True", "PodsReady")
    job = kubectl.get("dsjob", "tiny")
    assert job is not None
    for kind in ("pods", "configmaps", "services", "networkpolicies", "secrets"):
        owned = [each for each in kubectl.items(kind) if each["metadata"]["name"].startswith("dsjob-tiny")]
        assert owned, f"no {kind} of the job"
        for each in owned:
            assert [o["uid"] for o in each["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]

    pods.finish(COORDINATOR, verdict=SUCCESS)
    finished = wait_for_state(kubectl, "Succeeded")
    pods.wait_for()
    assert pods.names() == [COORDINATOR]  # for its logs
    assert finished["status"]["step"] == 20
    revision = kubectl.get("dsrev", finished["status"]["export"]["revision"])
    assert revision is not None
    assert revision["spec"]["digest"] == DIGEST
    assert revision["spec"]["evaluation"] == [{"name": "held_out_bits_per_byte", "value": "2.125"}]
    assert revision["spec"]["provenance"]["jobRef"]["uid"] == job["metadata"]["uid"]
    assert "ownerReferences" not in revision["metadata"]  # the model outlives the job


def test_progress_of_the_coordinator_is_seen_in_kubectl_get(
    operator: Any, kubectl: Kubectl, pods: Any, coordinator: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    coordinator.progress = Progress(
        phase="Training", epoch=1, step=5, total_steps=20, loss=7.25, tokens_per_second=1234.4, eta_seconds=75
    )
    pods.run(COORDINATOR, ip=coordinator.address)
    wait_for_state(kubectl, "Training")
    header, row = kubectl.run("get", "dsjob", "tiny").splitlines()
    assert header.split() == ["NAME", "STATE", "STEP", "PROGRESS", "LOSS", "TOKENS/S", "ETA", "AGE"]
    assert row.split()[:7] == ["tiny", "Training", "5", "25%", "7.2500", "1234", "1m15s"]


def test_events_say_in_words_what_happened_and_each_once(
    operator: Any, kubectl: Kubectl, pods: Any, coordinator: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    pods.run(COORDINATOR, ip=coordinator.address)
    wait_for_state(kubectl, "Training")
    for step in range(6, 10):
        coordinator.progress = coordinator.progress.model_copy(update={"step": step})
        wait_until(
            lambda: (kubectl.get("dsjob", "tiny") or {})["status"]["step"],
            holds=lambda seen, step=step: seen == step,
            what=f"step {step} in the status",
            deadline_seconds=DEADLINE,
        )
    told = [(event["reason"], event["message"]) for event in kubectl.events("tiny")]
    assert {"Accepted", "PodsReady", "Running"} <= {reason for reason, _ in told}
    assert len(told) == len(set(told))
    assert "Running" in kubectl.run("describe", "dsjob", "tiny").split("Events:")[1]


def test_suspend_asks_the_run_to_stop_and_resume_starts_new_pods(
    operator: Any, kubectl: Kubectl, pods: Any, coordinator: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    pods.run(COORDINATOR, ip=coordinator.address)
    wait_for_state(kubectl, "Training")
    kubectl.patch("dsjob", "tiny", {"spec": {"suspend": True}})
    wait_until(
        lambda: [control.desired_state for _, control in coordinator.controls],
        holds=lambda states: "Stopped" in states,
        what="the control to stop",
        deadline_seconds=DEADLINE,
    )
    secret = next(s for s in kubectl.items("secrets") if s["metadata"]["name"].startswith("dsjob-tiny-token"))
    token = kubectl.run(
        "get", "secret", secret["metadata"]["name"], "-o", "go-template={{.data.token | base64decode}}"
    )
    assert {authorization for authorization, _ in coordinator.controls} == {f"Bearer {token}"}
    assert COORDINATOR in pods.active()  # it writes its checkpoint

    pods.finish(COORDINATOR, verdict=Verdict(outcome="Stopped", reason="Stopped", step=7))
    wait_for_state(kubectl, "Suspended")
    pods.wait_for()
    kubectl.patch("dsjob", "tiny", {"spec": {"suspend": False}})
    pods.wait_for("dsjob-tiny-coordinator-2", "dsjob-tiny-worker-0-2", "dsjob-tiny-worker-1-2")


def test_a_scaled_job_stops_and_goes_on_with_as_many_pods(
    operator: Any, kubectl: Kubectl, pods: Any, coordinator: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    pods.run(COORDINATOR, ip=coordinator.address)
    wait_for_state(kubectl, "Training")
    kubectl.run("scale", "dsjob", "tiny", "--replicas=3")  # does not divide 8 sequences
    refused = wait_for_condition(kubectl, "Resized", "False", "ResizeRefused")
    assert "globalBatchSize" in refused["message"]

    kubectl.run("scale", "dsjob", "tiny", "--replicas=4")
    wait_for_state(kubectl, "Resizing")
    wait_until(
        lambda: [control.desired_state for _, control in coordinator.controls],
        holds=lambda states: "Stopped" in states,
        what="the control to stop",
        deadline_seconds=DEADLINE,
    )
    assert COORDINATOR in pods.active()  # it writes its checkpoint
    pods.finish(COORDINATOR, verdict=Verdict(outcome="Stopped", reason="Stopped", step=7))
    workers = [f"dsjob-tiny-worker-{index}-{2 if index < 2 else 1}" for index in range(4)]
    pods.wait_for("dsjob-tiny-coordinator-2", *workers)
    wait_for_condition(kubectl, "Resized", "True", "Resized")
    status = (kubectl.get("dsjob", "tiny") or {})["status"]
    assert (status["nodes"], status["restarts"]) == (4, 0)
    scale = json.loads(kubectl.run("get", "dsjob", "tiny", "--subresource=scale", "-o", "json"))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (4, 4)


def test_a_deleted_job_leaves_nothing(operator: Any, kubectl: Kubectl, pods: Any, a_job: Any) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    kubectl.delete("dsjob", "tiny", "--wait=true")  # no finalizer holds it

    def remains() -> list[str]:
        kinds = ("pods", "configmaps", "services", "networkpolicies", "secrets")
        names = [each["metadata"]["name"] for kind in kinds for each in kubectl.items(kind)]
        return [name for name in names if name.startswith("dsjob-")]

    wait_until(remains, holds=lambda names: not names, what="nothing of the job", deadline_seconds=DEADLINE)


def test_a_job_of_the_same_name_starts_afresh(operator: Any, kubectl: Kubectl, pods: Any, a_job: Any) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    first = kubectl.get("pod", COORDINATOR)
    kubectl.delete("dsjob", "tiny", "--wait=true")
    kubectl.apply(a_job())
    assert first is not None
    wait_until(
        lambda: kubectl.get("pod", COORDINATOR),
        holds=lambda pod: pod is not None and pod["metadata"]["uid"] != first["metadata"]["uid"],
        what="a coordinator of the new job",
        deadline_seconds=DEADLINE,
    )
    wait_for_condition(kubectl, "PodsReady", "True", "PodsReady")


def test_kopf_leaves_no_trace_on_users_objects(
    operator: Any, kubectl: Kubectl, pods: Any, a_job: Any
) -> None:
    kubectl.apply(a_job())
    pods.wait_for(COORDINATOR, *WORKERS)
    for kind, name in (("dsjob", "tiny"), ("pod", COORDINATOR)):
        metadata = (kubectl.get(kind, name) or {})["metadata"]
        assert "finalizers" not in metadata
        assert not [key for key in metadata.get("annotations", {}) if "kopf" in key or "zalando" in key]
