"""What happens to the objects of a service that serves, and what follows."""

from typing import Any

import pytest

from deepseek_operator.cluster.interface import Forbidden
from deepseek_operator.cluster.kinds import MODEL_SERVICE


async def test_a_crashed_replica_is_replaced_ever_slower_but_for_ever(serving: Any) -> None:
    await serving.serve_r1()
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
    await serving.serve_r1()
    for _ in range(3):
        worker = next(pod for pod in serving.replicas("r1") if "worker-0" in pod)
        serving.start(worker)
        await serving.pass_time(3600)
        serving.cluster.finish_pod(worker, exit_code=1)
        await serving.settle()
        assert len(serving.replicas("r1")) == 2


async def test_a_lost_service_is_made_again_and_a_bent_one_put_right(serving: Any) -> None:
    await serving.serve_r1()
    active = serving.status()["active"]["clusterId"]
    del serving.cluster.objects[("Service", "research", "chat")]
    await serving.settle()
    assert len(serving.requests_go_to()) == 2
    serving.cluster.objects[("Service", "research", "chat")]["spec"]["selector"]["deepseek.dev/cluster"] = "x"
    await serving.settle()
    service = serving.cluster.objects[("Service", "research", "chat")]
    assert service["spec"]["selector"]["deepseek.dev/cluster"] == active
    assert serving.status()["active"]["clusterId"] == active


@pytest.mark.parametrize("change", [{"selector": {"team": "chat"}}, {"ports": [{"port": 80}]}])
async def test_one_key_more_in_the_selector_or_another_port_is_put_right(
    serving: Any, change: dict[str, Any]
) -> None:
    await serving.serve_r1()
    service = serving.cluster.objects[("Service", "research", "chat")]
    wanted = dict(service["spec"])
    for name, value in change.items():
        merged = {**wanted[name], **value} if isinstance(value, dict) else value
        service["spec"] = {**wanted, name: merged}
    await serving.settle()
    assert serving.cluster.objects[("Service", "research", "chat")]["spec"] == wanted


async def test_policies_of_the_cluster_that_serves_come_back(serving: Any) -> None:
    await serving.serve_r1()
    policies = serving.objects("NetworkPolicy")
    for name in policies:
        del serving.cluster.objects[("NetworkPolicy", "research", name)]
    await serving.pass_time(30)
    assert serving.objects("NetworkPolicy") == policies


async def test_a_lost_status_is_learned_again_from_what_is_there(serving: Any) -> None:
    await serving.serve_r1()
    pods, active = serving.pods("r1"), serving.status()["active"]
    serving.cluster.objects[("DeepSeekModelService", "research", "chat")]["status"] = {}
    await serving.settle()
    assert serving.pods("r1") == pods
    names = ("revision", "clusterId", "digest", "templateHash")
    assert {name: serving.status()["active"][name] for name in names} == {
        name: active[name] for name in names
    }


async def test_a_lost_run_config_is_made_again_with_all_that_it_owns(serving: Any) -> None:
    await serving.serve_r1()
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
