"""The life of a service: what exists, and where requests go, after each turn of events."""

from typing import Any

import pytest

from deepseek_operator.cluster.interface import Forbidden
from deepseek_operator.cluster.kinds import MODEL_SERVICE


async def _serving_r1(serving: Any, **spec: Any) -> None:
    serving.add_revision("r1")
    serving.add_service(**spec)
    await serving.roll_out("r1")


async def _rolling_to_r2(serving: Any, **spec: Any) -> None:
    await _serving_r1(serving, **spec)
    serving.clock.advance(60)
    serving.add_revision("r2")
    await serving.settle()


async def test_without_a_revision_there_is_no_pod_and_a_condition_says_so(serving: Any) -> None:
    serving.add_service()
    assert await serving.settle() == 10.0
    assert serving.cluster.pods() == []
    assert serving.condition("RevisionFound") == ("False", "RevisionNotFound")
    assert "spec.modelName tiny" in serving.message("RevisionFound")
    assert serving.status()["state"] == "Waiting"


async def test_the_first_revision_gets_a_cluster_and_no_request_before_it_is_checked(serving: Any) -> None:
    serving.add_revision("r1")
    serving.add_service()
    await serving.start_coordinator("r1")
    await serving.start_replicas("r1")
    assert len(serving.replicas("r1")) == 2
    assert serving.condition("Available") == ("False", "NoActiveRevision")
    assert serving.status()["candidate"]["phase"] == "Checking"
    assert "chat" not in serving.objects("Service")

    serving.say("r1", checked=True)
    await serving.settle()
    await serving.pass_time()
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    status = serving.status()
    assert (status["active"]["revision"], status["ready"], status["state"]) == ("r1", "2/2", "Serving")
    assert status["url"] == "http://chat.research.svc:8000"
    assert status["active"]["bitsPerByte"] == "2"
    assert "candidate" not in status


async def test_replicas_start_when_the_preflight_has_passed(serving: Any) -> None:
    serving.add_revision("r1")
    serving.add_service()
    await serving.settle()
    assert serving.replicas("r1") == []
    await serving.start_coordinator("r1")
    assert len(serving.replicas("r1")) == 2


async def test_a_newer_revision_comes_up_beside_the_active_one_which_goes_on_serving(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.bring_up("r2")
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    assert len(serving.replicas("r1")) == len(serving.replicas("r2")) == 2
    status = serving.status()
    assert (status["active"]["revision"], status["candidate"]["revision"]) == ("r1", "r2")


async def test_it_is_compared_with_the_active_one(serving: Any) -> None:
    await _rolling_to_r2(serving, rollout={"check": {"maxBitsPerByteIncrease": "0.1", "prompts": ["Once"]}})
    assert serving.run("r1").check.baseline is None
    check = serving.run("r2").check
    assert (check.prompts, check.max_bits_per_byte_increase) == (["Once"], 0.1)
    assert check.baseline.bits_per_byte == 2.0
    assert check.baseline.storage.uri == "s3://models/tiny/exports/r1"
    assert check.baseline.digest == serving.status()["active"]["digest"]


async def test_the_switch_moves_requests_before_the_old_pods_are_deleted(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.bring_up("r2")
    old = serving.replicas("r1")
    serving.clock.advance(2)
    await serving.settle()
    assert serving.requests_go_to() == set(serving.replicas("r2"))
    assert serving.replicas("r1") == old
    assert serving.condition("Progressing") == ("True", "Draining")
    await serving.pass_time()
    assert serving.replicas("r1") == []
    assert [pod for pod in serving.pods("r1") if "coordinator" in pod]  # replicas drain through it


async def test_old_pods_stay_until_requests_are_known_to_go_elsewhere(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.bring_up("r2")
    serving.clock.advance(2)
    serving.control()
    frozen = dict(serving.cluster.objects[("EndpointSlice", "research", "chat-1")])
    serving.control = lambda: serving.cluster.objects.update(  # the controller is behind
        {("EndpointSlice", "research", "chat-1"): frozen}
    )
    await serving.settle()
    await serving.pass_time(30)
    assert serving.status()["active"]["revision"] == "r2"
    assert len(serving.replicas("r1")) == 2
    del serving.control
    await serving.settle()
    assert serving.replicas("r1") == []


async def test_nothing_is_left_of_what_served_before(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.roll_out("r2")
    cluster = serving.status()["active"]["clusterId"]
    for kind in ("Pod", "ConfigMap", "Secret", "NetworkPolicy"):
        assert serving.objects(kind)
        assert [name for name in serving.objects(kind) if f"dsserve-chat-{cluster}" not in name] == []
    assert serving.objects("Service") == ["chat", f"dsserve-chat-{cluster}-coordinator"]
    assert serving.status()["retired"] == []
    assert serving.condition("Progressing") == ("False", "Complete")
    assert [each["revision"] for each in serving.status()["history"]] == ["r2", "r1"]


async def test_the_operator_deletes_no_secret_service_or_policy_itself(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.roll_out("r2")
    deleted = {write.split()[1] for write in serving.cluster.writes if write.startswith("delete")}
    assert deleted == {"Pod", "ConfigMap"}


async def test_a_settled_service_is_left_alone(serving: Any) -> None:
    await _serving_r1(serving)
    writes = len(serving.cluster.writes)
    assert await serving.pass_time(3600) is None
    assert len(serving.cluster.writes) == writes


async def test_events_tell_the_rollout_in_words(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.roll_out("r2")
    steps = ["RolloutStarted", "RevisionChecked", "Switched", "RolloutComplete"]
    assert [reason for reason in serving.told() if reason in steps] == steps * 2
    assert all(note for _, note in serving.cluster.events())


# A revision that is no good.


@pytest.mark.parametrize("reason", ["CheckFailed", "ExportInvalid", "ObjectNotFound", "ReplicasFailed"])
async def test_a_revision_that_fails_gets_no_request_and_frees_its_nodes(serving: Any, reason: str) -> None:
    await _rolling_to_r2(serving)
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
    await _rolling_to_r2(serving)
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
    await _rolling_to_r2(serving)
    await serving.start_coordinator("r2")
    serving.fail("r2", reason="CheckFailed", message="worse")
    await serving.settle()
    serving.edit(rollout={"check": {"maxBitsPerByteIncrease": "1"}})
    await serving.roll_out("r2")
    assert serving.status()["active"]["revision"] == "r2"
    assert serving.condition("RevisionFailed") == ("False", "NotFailed")


async def test_another_check_does_not_disturb_the_revision_that_serves(serving: Any) -> None:
    await _serving_r1(serving)
    pods = serving.pods("r1")
    serving.edit(rollout={"check": {"maxBitsPerByteIncrease": "1"}})
    await serving.settle()
    assert serving.pods("r1") == pods
    assert "candidate" not in serving.status()


async def test_a_newer_revision_replaces_the_one_that_failed(serving: Any) -> None:
    await _rolling_to_r2(serving)
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
    await _rolling_to_r2(serving, rollout={"progressDeadlineSeconds": 100})
    await serving.start_coordinator("r2")
    await serving.pass_time(99)
    assert serving.status()["candidate"]["phase"] == "Starting"
    await serving.pass_time(2)
    assert serving.condition("RevisionFailed") == ("True", "ProgressDeadlineExceeded")
    assert "0 of 2 replicas are ready" in serving.message("RevisionFailed")
    assert serving.requests_go_to() == set(serving.replicas("r1"))


async def test_one_whose_replicas_crash_is_given_up_after_four_times(serving: Any) -> None:
    await _rolling_to_r2(serving)
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
    await _rolling_to_r2(serving, rollout={"progressDeadlineSeconds": 100})
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


# What a user changes.


async def test_replicas_follow_the_spec_without_a_new_cluster(serving: Any) -> None:
    await _serving_r1(serving)
    serving.edit(replicas={"min": 3, "max": 3})
    await serving.settle()
    assert len(serving.replicas("r1")) == 3
    await serving.start_replicas("r1")
    assert serving.status()["ready"] == "3/3"
    serving.edit(replicas={"min": 1, "max": 3})
    await serving.settle()
    assert len(serving.replicas("r1")) == 1
    assert serving.status()["ready"] == "1/1"
    assert len(serving.objects("ConfigMap")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"image": "registry/worker:2"},
        {"engine": {"maxNumSeqs": 8}},
        {"pods": {"resources": {"gpu": 1}}},
        {"apiKeysSecretRef": {"name": "keys"}},
        {"proxy": "HAProxy"},
    ],
)
async def test_another_way_to_serve_rolls_out_like_another_revision(
    serving: Any, change: dict[str, Any]
) -> None:
    await _serving_r1(serving)
    before = serving.status()["active"]["clusterId"]
    serving.edit(**change)
    await serving.settle()
    candidate = serving.status()["candidate"]
    assert (candidate["revision"], candidate["clusterId"] == before) == ("r1", False)
    assert len(serving.requests_go_to()) == 2


async def test_a_lost_replica_of_the_active_revision_is_made_again_as_it_was(serving: Any) -> None:
    await _rolling_to_r2(serving)
    serving.edit(image="registry/worker:2")
    await serving.settle()
    (lost, *_) = serving.replicas("r1")
    image = serving.cluster.pod(lost)["spec"]["containers"][0]["image"]
    serving.cluster.remove_pod(lost)
    await serving.settle()
    (replacement,) = [pod for pod in serving.replicas("r1") if not serving._ready(pod)]
    assert replacement != lost
    assert serving.cluster.pod(replacement)["spec"]["containers"][0]["image"] == image == "registry/worker:1"


async def test_rollback_is_the_name_of_the_revision_before(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.roll_out("r2")
    serving.edit(model={"revisionRef": {"name": "r1"}})
    await serving.roll_out("r1")
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    assert [each["revision"] for each in serving.status()["history"]] == ["r1", "r2", "r1"]


async def test_a_rollback_before_the_old_pods_have_ended_gets_a_cluster_of_its_own(serving: Any) -> None:
    await _rolling_to_r2(serving)
    first = serving.status()["active"]["clusterId"]
    await serving.bring_up("r2")
    await serving.pass_time()
    serving.edit(model={"revisionRef": {"name": "r1"}})
    await serving.settle()
    assert serving.status()["candidate"]["clusterId"] != first


async def test_a_service_that_names_no_existing_revision_goes_on_with_the_one_it_has(serving: Any) -> None:
    await _serving_r1(serving)
    serving.edit(model={"revisionRef": {"name": "nowhere"}})
    await serving.settle()
    assert serving.condition("RevisionFound") == ("False", "RevisionNotFound")
    assert "DeepSeekModelRevision nowhere does not exist in namespace research" in serving.message(
        "RevisionFound"
    )
    assert len(serving.requests_go_to()) == 2


async def test_a_deleted_revision_goes_on_serving(serving: Any) -> None:
    await _serving_r1(serving)
    del serving.cluster.objects[("DeepSeekModelRevision", "research", "r1")]
    await serving.settle()
    assert len(serving.requests_go_to()) == 2
    serving.cluster.remove_pod(serving.replicas("r1")[0])
    await serving.settle()
    assert len(serving.replicas("r1")) == 2


async def test_suspend_frees_the_nodes_and_resume_serves_the_same_again(serving: Any) -> None:
    await _serving_r1(serving)
    serving.edit(suspend=True)
    await serving.settle()
    for _ in range(2):
        serving.cluster.let_go_terminating()
        await serving.settle()
    assert serving.cluster.pods() == []
    assert serving.condition("Suspended") == ("True", "Suspended")
    assert serving.condition("Available") == ("False", "Suspended")
    serving.edit(suspend=False)
    await serving.start_coordinator("r1")
    await serving.start_replicas("r1")
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    assert serving.status()["state"] == "Serving"


async def test_suspending_drops_a_candidate(serving: Any) -> None:
    await _rolling_to_r2(serving)
    await serving.start_coordinator("r2")
    serving.edit(suspend=True)
    await serving.settle()
    for _ in range(3):
        serving.cluster.let_go_terminating()
        await serving.settle()
    assert serving.cluster.pods() == []
    assert len(serving.objects("ConfigMap")) == 1
    assert "candidate" not in serving.status()


async def test_a_service_whose_name_is_taken_touches_nothing(serving: Any) -> None:
    serving.add_revision("r1")
    foreign = {"metadata": {"name": "chat", "namespace": "research"}, "spec": {"selector": {"app": "mine"}}}
    serving.cluster.objects[("Service", "research", "chat")] = foreign
    serving.control = lambda: None
    serving.add_service()
    await serving.settle()
    assert serving.condition("Accepted") == ("False", "NameConflict")
    assert "Service chat exists and is not owned" in serving.message("Accepted")
    assert serving.cluster.pods() == []
    assert serving.cluster.objects[("Service", "research", "chat")] == foreign


# What the cluster does.


async def test_a_crashed_replica_is_replaced_ever_slower_but_for_ever(serving: Any) -> None:
    await _serving_r1(serving)
    for wait in (0, 2, 4):
        worker = max(pod for pod in serving.replicas("r1") if "worker-0" in pod)
        serving.start(worker)
        serving.cluster.finish_pod(worker, exit_code=1)
        await serving.settle()
        if wait:
            assert len(serving.replicas("r1")) == 1
        await serving.pass_time(wait)
        assert len(serving.replicas("r1")) == 2
    assert serving.status()["lastFailure"]


async def test_crashes_of_long_ago_do_not_slow_a_replacement(serving: Any) -> None:
    await _serving_r1(serving)
    for _ in range(3):
        worker = next(pod for pod in serving.replicas("r1") if "worker-0" in pod)
        serving.start(worker)
        await serving.pass_time(3600)
        serving.cluster.finish_pod(worker, exit_code=1)
        await serving.settle()
        assert len(serving.replicas("r1")) == 2


async def test_a_lost_service_is_made_again_and_a_bent_one_put_right(serving: Any) -> None:
    await _serving_r1(serving)
    active = serving.status()["active"]["clusterId"]
    del serving.cluster.objects[("Service", "research", "chat")]
    await serving.settle()
    assert len(serving.requests_go_to()) == 2
    serving.cluster.objects[("Service", "research", "chat")]["spec"]["selector"]["deepseek.dev/cluster"] = "x"
    await serving.settle()
    service = serving.cluster.objects[("Service", "research", "chat")]
    assert service["spec"]["selector"]["deepseek.dev/cluster"] == active
    assert serving.status()["active"]["clusterId"] == active


async def test_a_lost_status_is_learned_again_from_what_is_there(serving: Any) -> None:
    await _serving_r1(serving)
    pods, active = serving.pods("r1"), serving.status()["active"]
    serving.cluster.objects[("DeepSeekModelService", "research", "chat")]["status"] = {}
    await serving.settle()
    assert serving.pods("r1") == pods
    names = ("revision", "clusterId", "digest", "templateHash")
    assert {name: serving.status()["active"][name] for name in names} == {
        name: active[name] for name in names
    }


async def test_a_lost_run_config_is_made_again_with_all_that_it_owns(serving: Any) -> None:
    await _serving_r1(serving)
    (name,) = serving.objects("ConfigMap")
    pods = serving.pods("r1")
    del serving.cluster.objects[("ConfigMap", "research", name)]
    await serving.settle()
    assert serving.objects("ConfigMap") == [name]
    assert len(serving.objects("NetworkPolicy")) == 2
    assert serving.pods("r1") == pods
    assert len(serving.requests_go_to()) == 2


async def test_a_quota_is_told_and_tried_again(serving: Any) -> None:
    serving.add_revision("r1")
    serving.add_service()
    create = serving.cluster.create

    async def refuse(kind: Any, document: Any) -> Any:
        if kind.kind == "Pod":
            raise Forbidden("exceeded quota: pods=10")
        return await create(kind, document)

    serving.cluster.create = refuse
    await serving.world.reconcile(MODEL_SERVICE, "chat")
    assert await serving.world.reconcile(MODEL_SERVICE, "chat") == 10.0
    assert serving.condition("Progressing") == ("False", "RefusedByCluster")
    assert "exceeded quota" in serving.message("Progressing")
    serving.cluster.create = create
    await serving.roll_out("r1")
    assert serving.status()["active"]["revision"] == "r1"


# Which revision.


async def test_the_newest_revision_of_the_model_is_served(serving: Any) -> None:
    serving.add_revision("r9")
    serving.clock.advance(60)
    serving.add_revision("r1")
    serving.add_revision("r2", model="other")
    serving.add_service()
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r1"


async def test_a_job_can_name_the_service_for_its_revision(serving: Any) -> None:
    serving.add_revision("r1")
    serving.clock.advance(60)
    serving.add_revision("r2", model="tuned", serviceRef={"name": "chat"})
    serving.add_service()
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r2"


async def test_a_service_that_names_its_revision_is_led_by_no_job(serving: Any) -> None:
    serving.add_revision("r1")
    serving.clock.advance(60)
    serving.add_revision("r2", serviceRef={"name": "chat"})
    serving.add_service(model={"revisionRef": {"name": "r1"}})
    await serving.settle()
    assert serving.status()["candidate"]["revision"] == "r1"


async def test_a_revision_outside_of_object_storage_is_refused(serving: Any) -> None:
    serving.add_revision("r1", storageUri="ftp://somewhere/model")
    serving.add_service()
    await serving.settle()
    assert serving.condition("Accepted") == ("False", "InvalidStorageUri")
    assert serving.cluster.pods() == []
