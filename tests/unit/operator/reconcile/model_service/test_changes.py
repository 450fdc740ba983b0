"""What a user changes of a service, and what follows."""

from typing import Any

import pytest

BUDGET = "PodDisruptionBudget"


async def test_replicas_follow_the_spec_without_a_new_cluster(serving: Any) -> None:
    await serving.serve_r1()
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
    await serving.serve_r1()
    before = serving.status()["active"]["clusterId"]
    serving.edit(**change)
    await serving.settle()
    candidate = serving.status()["candidate"]
    assert (candidate["revision"], candidate["clusterId"] == before) == ("r1", False)
    assert len(serving.requests_go_to()) == 2


async def test_a_lost_replica_of_the_active_revision_is_made_again_as_it_was(serving: Any) -> None:
    await serving.begin_r2()
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
    await serving.begin_r2()
    await serving.roll_out("r2")
    serving.edit(model={"revisionRef": {"name": "r1"}})
    await serving.roll_out("r1")
    assert serving.requests_go_to() == set(serving.replicas("r1"))
    assert [each["revision"] for each in serving.status()["history"]] == ["r1", "r2", "r1"]


async def test_a_rollback_before_the_old_pods_have_ended_gets_a_cluster_of_its_own(serving: Any) -> None:
    await serving.begin_r2()
    first = serving.status()["active"]["clusterId"]
    await serving.bring_up("r2")
    await serving.pass_time()
    serving.edit(model={"revisionRef": {"name": "r1"}})
    await serving.settle()
    assert serving.status()["candidate"]["clusterId"] != first


async def test_a_service_that_names_no_existing_revision_goes_on_with_the_one_it_has(serving: Any) -> None:
    await serving.serve_r1()
    serving.edit(model={"revisionRef": {"name": "nowhere"}})
    await serving.settle()
    assert serving.condition("RevisionFound") == ("False", "RevisionNotFound")
    assert "DeepSeekModelRevision nowhere does not exist in namespace research" in serving.message(
        "RevisionFound"
    )
    assert len(serving.requests_go_to()) == 2


async def test_a_deleted_revision_goes_on_serving(serving: Any) -> None:
    await serving.serve_r1()
    del serving.cluster.objects[("DeepSeekModelRevision", "research", "r1")]
    await serving.settle()
    assert len(serving.requests_go_to()) == 2
    serving.cluster.remove_pod(serving.replicas("r1")[0])
    await serving.settle()
    assert len(serving.replicas("r1")) == 2


async def test_suspend_frees_the_nodes_and_resume_serves_the_same_again(serving: Any) -> None:
    await serving.serve_r1()
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
    await serving.begin_r2()
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


async def test_a_drain_may_take_one_replica_at_a_time_and_the_last_one(serving: Any) -> None:
    await serving.serve_r1()
    ((key, budget),) = [each for each in serving.cluster.objects.items() if each[0][0] == BUDGET]
    assert budget["spec"]["minAvailable"] == 1
    labels = [serving.cluster.pod(pod)["metadata"]["labels"].items() for pod in serving.pods("r1")]
    guarded = [budget["spec"]["selector"]["matchLabels"].items() <= each for each in labels]
    assert guarded == ["worker" in pod for pod in serving.pods("r1")]
    for number, left in ((4, 3), (1, 0)):
        serving.edit(replicas={"min": number, "max": number})
        await serving.settle()
        await serving.pass_time(30)
        assert serving.cluster.objects[key]["spec"]["minAvailable"] == left


async def test_the_budget_goes_with_its_cluster(serving: Any) -> None:
    await serving.serve_r1()
    (before,) = serving.objects(BUDGET)
    serving.clock.advance(60)
    serving.add_revision("r2")
    await serving.roll_out("r2")
    (after,) = serving.objects(BUDGET)
    assert after != before
