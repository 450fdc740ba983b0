"""A revision that is no good: it gets no request, its nodes are freed, the active one is not touched."""

from typing import Any

import pytest


@pytest.mark.parametrize("reason", ["CheckFailed", "ExportInvalid", "ObjectNotFound", "ReplicasFailed"])
async def test_a_revision_that_fails_gets_no_request_and_frees_its_nodes(serving: Any, reason: str) -> None:
    await serving.begin_r2()
    await serving.start_coordinator("r2")
    await serving.start_replicas("r2")
    serving.fail("r2", reason=reason, message="weights.safetensors is missing: restore it")
    await serving.settle()
    serving.cluster.let_go_terminating()
    await serving.settle()
    assert serving.pods("r2") == []
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    assert serving.condition("RevisionFailed") == ("True", reason)
    assert "weights.safetensors is missing" in serving.message("RevisionFailed")
    assert "r1 goes on serving" in serving.message("RevisionFailed")
    assert serving.condition("Available") == ("True", "Available")
    assert reason in serving.told()


async def test_it_is_not_tried_again_by_itself(serving: Any) -> None:
    await serving.begin_r2()
    await serving.start_coordinator("r2")
    serving.fail("r2", reason="CheckFailed", message="worse")
    await serving.settle()
    writes = len(serving.cluster.writes)
    await serving.pass_time(36000)
    serving.edit(replicas={"min": 1, "max": 1})
    await serving.settle()
    assert [write for write in serving.cluster.writes[writes:] if write.startswith("create Pod")] == []
    assert serving.condition("RevisionFailed") == ("True", "CheckFailed")


async def test_it_is_tried_again_under_another_check(serving: Any) -> None:
    await serving.begin_r2()
    await serving.start_coordinator("r2")
    serving.fail("r2", reason="CheckFailed", message="worse")
    await serving.settle()
    serving.edit(rollout={"check": {"maxBitsPerByteIncrease": "1"}})
    await serving.roll_out("r2")
    assert serving.status()["active"]["revision"] == "r2"
    assert serving.condition("RevisionFailed") == ("False", "NotFailed")


async def test_another_check_does_not_disturb_the_revision_that_serves(serving: Any) -> None:
    await serving.serve_r1()
    pods = serving.pods("r1")
    serving.edit(rollout={"check": {"maxBitsPerByteIncrease": "1"}})
    await serving.settle()
    assert serving.pods("r1") == pods
    assert "candidate" not in serving.status()


async def test_a_newer_revision_replaces_the_one_that_failed(serving: Any) -> None:
    await serving.begin_r2()
    await serving.start_coordinator("r2")
    serving.fail("r2", reason="CheckFailed", message="worse")
    await serving.settle()
    serving.clock.advance(60)
    serving.add_revision("r3")
    await serving.roll_out("r3")
    assert serving.status()["active"]["revision"] == "r3"
    assert {name.split("-")[2] for name in serving.objects("ConfigMap")} == {
        serving.status()["active"]["clusterId"]
    }


async def test_one_that_hangs_is_given_up_after_its_deadline(serving: Any) -> None:
    await serving.begin_r2(rollout={"progressDeadlineSeconds": 100})
    await serving.start_coordinator("r2")
    await serving.pass_time(99)
    assert serving.status()["candidate"]["phase"] == "Starting"
    await serving.pass_time(2)
    assert serving.condition("RevisionFailed") == ("True", "ProgressDeadlineExceeded")
    assert "0 of 2 replicas are ready" in serving.message("RevisionFailed")
    assert serving.requests_go_to() == set(serving.replicas("r1"))


async def test_time_without_an_operator_does_not_count_against_it(serving: Any) -> None:
    await serving.begin_r2(rollout={"progressDeadlineSeconds": 100})
    await serving.start_coordinator("r2")
    serving.clock.advance(36000)
    serving.world.new_leader()
    await serving.pass_time(99)
    assert serving.status()["candidate"]["phase"] == "Starting"
    await serving.pass_time(2)
    assert serving.condition("RevisionFailed") == ("True", "ProgressDeadlineExceeded")


async def test_one_whose_replicas_crash_is_given_up_after_four_times(serving: Any) -> None:
    await serving.begin_r2()
    await serving.start_coordinator("r2")
    for _ in range(4):
        worker = serving.replicas("r2")[0]
        serving.start(worker, ready=False)
        serving.cluster.finish_pod(worker, exit_code=137, reason="OOMKilled")
        await serving.settle()
        await serving.pass_time(60)
    assert serving.condition("RevisionFailed") == ("True", "OOMKilled")
    assert serving.pods("r2") == []


async def test_one_that_waits_for_nodes_is_not_given_up(serving: Any) -> None:
    await serving.begin_r2(rollout={"progressDeadlineSeconds": 100})
    await serving.start_coordinator("r2")
    for pod in serving.replicas("r2"):
        serving.cluster.unschedulable_pod(pod, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    await serving.settle()
    await serving.pass_time(3600)
    assert serving.condition("Progressing") == ("False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in serving.message("Progressing")
    assert serving.status()["state"] == "Pending"
    await serving.start_replicas("r2")
    serving.say("r2", checked=True)
    await serving.settle()
    await serving.pass_time()
    assert serving.status()["active"]["revision"] == "r2"


async def test_a_missing_secret_is_named(serving: Any) -> None:
    serving.add_revision("r1")
    serving.add_service()
    await serving.settle()
    (coordinator,) = serving.cluster.pods()
    serving.cluster.wait_pod(
        coordinator, reason="CreateContainerConfigError", message='secret "s3-credentials" not found'
    )
    await serving.settle()
    assert serving.condition("Progressing") == ("False", "ContainerConfigInvalid")
    assert 'secret "s3-credentials" not found' in serving.message("Progressing")
