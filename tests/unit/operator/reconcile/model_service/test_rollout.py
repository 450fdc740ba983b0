"""The life of a service: what exists, and where requests go, after each step of a rollout."""

from typing import Any


async def test_without_a_revision_there_is_no_pod_and_a_condition_says_so(serving: Any) -> None:
    serving.add_service()
    assert await serving.settle() == 10.0
    assert serving.cluster.pods() == []
    assert serving.condition("RevisionFound") == ("False", "RevisionNotFound")
    assert "spec.modelName tiny" in serving.message("RevisionFound")
    assert (serving.status()["state"], serving.status()["ready"]) == ("Waiting", "0/2")


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
    await serving.begin_r2()
    await serving.bring_up("r2")
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    assert len(serving.replicas("r1")) == len(serving.replicas("r2")) == 2
    status = serving.status()
    assert (status["active"]["revision"], status["candidate"]["revision"]) == ("r1", "r2")


async def test_it_is_compared_with_the_active_one(serving: Any) -> None:
    await serving.begin_r2(rollout={"check": {"maxBitsPerByteIncrease": "0.1", "prompts": ["Once"]}})
    assert serving.run("r1").check.baseline is None
    check = serving.run("r2").check
    assert (check.prompts, check.max_bits_per_byte_increase) == (["Once"], 0.1)
    assert check.baseline.bits_per_byte == 2.0
    assert check.baseline.storage.uri == "s3://models/tiny/exports/r1"
    assert check.baseline.digest == serving.status()["active"]["digest"]


async def test_the_switch_moves_requests_before_the_old_pods_are_deleted(serving: Any) -> None:
    await serving.begin_r2()
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
    await serving.begin_r2()
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
    await serving.begin_r2()
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
    await serving.begin_r2()
    await serving.roll_out("r2")
    deleted = {write.split()[1] for write in serving.cluster.writes if write.startswith("delete")}
    assert deleted == {"Pod", "ConfigMap"}


async def test_a_settled_service_is_left_alone(serving: Any) -> None:
    await serving.serve_r1()
    writes = len(serving.cluster.writes)
    assert await serving.pass_time(3600) == 30.0  # nobody tells of a changed Service
    assert len(serving.cluster.writes) == writes


async def test_events_tell_the_rollout_in_words(serving: Any) -> None:
    await serving.begin_r2()
    await serving.roll_out("r2")
    steps = ["RolloutStarted", "RevisionChecked", "Switched", "RolloutComplete"]
    assert [reason for reason in serving.told() if reason in steps] == steps * 2
    assert all(note for _, note in serving.cluster.events())
