"""A job with minNodes goes on with the nodes that there are, and grows again when there are more."""

from collections.abc import Callable
from typing import Any

import pytest

from deepseek_operator.cluster.interface import Forbidden
from deepseek_operator.cluster.kinds import TRAINING_JOB
from deepseek_operator.status.size import Patience
from deepseek_workloads.contract.messages import Progress, Verdict

STOPPED = Verdict(outcome="Stopped", reason="Stopped", step=7, checkpoint_step=7)
PATIENCE = Patience()
TOO_FEW = "0/3 nodes are available: 3 Insufficient cpu."


async def _start(world: Any, number: int, *, workers: list[str], missing: list[str] | None = None) -> None:
    """The coordinator and these workers run; for the missing ones there is no node."""
    ip = f"10.0.0.{number}"
    world.cluster.start_pod(f"dsjob-tiny-coordinator-{number}", ip=ip)
    await world.settle()
    for name in workers:
        world.cluster.start_pod(f"dsjob-tiny-{name}", node=f"node-{name}")
    for name in missing or []:
        world.cluster.unschedulable_pod(f"dsjob-tiny-{name}", TOO_FEW)
    phase = "WaitingForWorkers" if missing else "Training"
    world.coordinators.answers[ip] = Progress(phase=phase, epoch=number, step=5, total_steps=20)
    await world.settle()


async def _stop(world: Any, number: int) -> None:
    assert world.coordinators.pushed[-1][1].desired_state == "Stopped"
    world.cluster.finish_pod(f"dsjob-tiny-coordinator-{number}", verdict=STOPPED)
    for _ in range(3):
        await world.settle()
        world.cluster.let_go_terminating()
    await world.settle()


async def _wait(world: Any, seconds: float) -> None:
    world.clock.advance(seconds)
    await world.settle()


@pytest.fixture
async def shrunken(world: Any) -> Any:
    """It wants 4 nodes, needs 1, and has 2: there was none for the last, and 3 do not divide its batch."""
    world.add_job(workers={"numNodes": 4, "minNodes": 1, "resources": {"cpu": "1", "memory": "3Gi"}})
    await world.settle()
    await _start(world, 1, workers=["worker-0-1", "worker-1-1", "worker-2-1"], missing=["worker-3-1"])
    assert world.status()["state"] == "Pending"
    await _wait(world, PATIENCE.shrink - 1)
    assert world.status()["state"] == "Pending"
    assert world.coordinators.pushed == []
    await _wait(world, 1)
    assert world.status()["state"] == "Resizing"
    await _stop(world, 1)
    await _start(world, 2, workers=["worker-0-2", "worker-1-2"])
    return world


async def test_it_goes_on_with_as_many_as_the_rules_allow(shrunken: Any) -> None:
    members = ["coordinator-2", "worker-0-2", "worker-1-2"]
    assert shrunken.cluster.active_pods() == [f"dsjob-tiny-{name}" for name in members]
    assert shrunken.condition("Resized") == ("False", "NodesMissing")
    assert "2 of 4 nodes" in shrunken.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    assert shrunken.condition("Progressing")[0] == "True"
    status = shrunken.status()
    assert (status["state"], status["nodes"], status["plan"]["worldSize"]) == ("Training", 2, 2)
    assert (status["restarts"], status["failures"], status.get("lastFailure", "")) == (0, 0, "")
    assert "NodesMissing" in [reason for reason, _ in shrunken.cluster.events()]


async def test_it_looks_for_nodes_by_pods_that_wait_and_grows_when_they_have_them(shrunken: Any) -> None:
    world = shrunken
    await _wait(world, PATIENCE.grow - 1)
    assert len(world.cluster.active_pods()) == 3, "it grows only so often"
    await _wait(world, 1)
    standbys = ["dsjob-tiny-standby-2-1", "dsjob-tiny-standby-3-1"]
    assert world.cluster.active_pods()[1:3] == standbys
    for name in standbys:
        world.cluster.unschedulable_pod(name, TOO_FEW)
    await _wait(world, PATIENCE.shrink - 1)
    assert world.status()["state"] == "Training"
    world.cluster.start_pod(standbys[0], node="node-8")
    await world.settle()
    assert world.status()["state"] == "Training", "3 nodes do not divide the batch"
    world.cluster.start_pod(standbys[1], node="node-9")
    await world.settle()
    assert world.status()["state"] == "Resizing"
    assert standbys[0] in world.cluster.active_pods(), "it holds its node until the run has stopped"
    await _stop(world, 2)
    await _start(world, 3, workers=["worker-0-3", "worker-1-3", "worker-2-2", "worker-3-2"])
    assert world.condition("Resized") == ("True", "Resized")
    assert (world.status()["nodes"], world.status()["restarts"]) == (4, 0)
    assert not [name for name in world.cluster.pods() if "standby" in name]


def _quota(world: Any, *names: str) -> Callable[[], None]:
    """Pods of these names are refused; the answer lifts it."""
    create = world.cluster.create

    async def refuse(kind: Any, document: Any) -> Any:
        if document["metadata"]["name"].removeprefix("dsjob-tiny-") in names:
            raise Forbidden("exceeded quota: pods=3")
        return await create(kind, document)

    def lift() -> None:
        world.cluster.create = create

    world.cluster.create = refuse
    return lift


async def test_a_worker_that_a_quota_refuses_has_no_node_either(world: Any) -> None:
    _quota(world, "worker-3-1")
    world.add_job(workers={"numNodes": 4, "minNodes": 1, "resources": {"cpu": "1", "memory": "3Gi"}})
    await world.settle()
    await _start(world, 1, workers=["worker-0-1", "worker-1-1", "worker-2-1"])
    assert world.condition("PodsReady") == ("False", "RefusedByCluster")
    await _wait(world, PATIENCE.shrink - 1)
    assert world.status()["nodes"] == 4
    await _wait(world, 1)
    assert (world.status()["state"], world.status()["nodes"]) == ("Resizing", 2)
    await _stop(world, 1)
    await _start(world, 2, workers=["worker-0-2", "worker-1-2"])
    assert (world.status()["state"], world.status()["nodes"]) == ("Training", 2)


async def test_a_worker_that_is_refused_waits_from_the_start_of_its_run(world: Any) -> None:
    _quota(world, "worker-3-1")
    workers = {"numNodes": 4, "minNodes": 1, "resources": {"cpu": "1", "memory": "3Gi"}}
    world.add_job(workers=workers, suspend=True)
    await world.settle()
    await _wait(world, 10 * PATIENCE.shrink)
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    await world.settle()
    await _start(world, 1, workers=["worker-0-1", "worker-1-1", "worker-2-1"])
    assert world.condition("PodsReady") == ("False", "RefusedByCluster")
    assert world.status()["nodes"] == 4


async def test_a_standby_pod_that_is_refused_stops_nothing(shrunken: Any) -> None:
    world = shrunken
    lift = _quota(world, "standby-3-1", "standby-3-2")
    await _wait(world, PATIENCE.grow)
    assert world.condition("Resized") == ("False", "NodesMissing")
    assert "exceeded quota" in world.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    assert [world.condition(kind)[0] for kind in ("PodsReady", "Running", "Progressing")] == ["True"] * 3
    assert world.status()["state"] == "Training"
    world.cluster.remove_pod("dsjob-tiny-worker-1-2")
    await world.settle()
    assert "dsjob-tiny-worker-1-3" in world.cluster.active_pods(), "it holds up no worker"
    world.cluster.start_pod("dsjob-tiny-worker-1-3", node="node-2")
    await world.settle()
    lift()
    await world.settle()
    assert "dsjob-tiny-standby-3-1" in world.cluster.active_pods()
    assert "quota" not in world.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]


async def test_a_standby_pod_stays_until_its_replacement_is_not_refused(shrunken: Any) -> None:
    world = shrunken
    await _wait(world, PATIENCE.grow)
    lift = _quota(world, "standby-3-2")
    world.cluster.finish_pod("dsjob-tiny-standby-3-1", exit_code=1)
    await world.settle()
    assert "dsjob-tiny-standby-3-1" in world.cluster.pods()
    lift()
    await world.settle()
    assert "dsjob-tiny-standby-3-2" in world.cluster.pods()
    assert "dsjob-tiny-standby-3-1" not in world.cluster.pods()


async def test_nodes_that_are_too_few_to_be_used_are_given_back_and_asked_for_again(shrunken: Any) -> None:
    world = shrunken
    await _wait(world, PATIENCE.grow)
    world.cluster.start_pod("dsjob-tiny-standby-2-1", node="node-8")
    world.cluster.unschedulable_pod("dsjob-tiny-standby-3-1", TOO_FEW)
    await _wait(world, PATIENCE.shrink - 1)
    assert len(world.cluster.active_pods()) == 5
    await _wait(world, 1)
    world.cluster.let_go_terminating()
    assert world.cluster.pods() == [
        f"dsjob-tiny-{name}" for name in ("coordinator-2", "worker-0-2", "worker-1-2")
    ]
    await _wait(world, PATIENCE.grow - 1)
    assert len(world.cluster.active_pods()) == 3
    await _wait(world, 1)
    assert len(world.cluster.active_pods()) == 5
    assert (world.status()["state"], world.status()["nodes"]) == ("Training", 2)


async def test_a_standby_pod_is_no_member_of_the_run(shrunken: Any) -> None:
    world = shrunken
    await _wait(world, PATIENCE.grow)
    world.cluster.wait_pod("dsjob-tiny-standby-2-1", reason="ErrImagePull", message="no such image")
    await world.settle()
    assert "no such image" in world.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    world.cluster.finish_pod("dsjob-tiny-standby-3-1", exit_code=1)
    await _wait(world, PATIENCE.shrink - 1)
    status = world.status()
    assert (status["state"], status["failures"], status.get("lastFailure", "")) == ("Training", 0, "")
    assert status["pods"]["ready"] == status["pods"]["desired"] == 2


async def test_a_worker_that_waits_for_a_node_comes_before_standby_pods(shrunken: Any) -> None:
    world = shrunken
    await _wait(world, PATIENCE.grow)
    world.cluster.remove_pod("dsjob-tiny-worker-1-2")
    await world.settle()
    names = [name.removeprefix("dsjob-tiny-") for name in world.cluster.active_pods()]
    assert names == ["coordinator-2", "worker-0-2", "worker-1-3"]


async def test_below_min_nodes_it_waits(world: Any) -> None:
    world.add_job(workers={"numNodes": 4, "minNodes": 2, "resources": {"cpu": "1", "memory": "3Gi"}})
    await world.settle()
    missing = ["worker-1-1", "worker-2-1", "worker-3-1"]
    await _start(world, 1, workers=["worker-0-1"], missing=missing)
    await _wait(world, 10 * PATIENCE.shrink)
    assert (world.status()["state"], world.status()["nodes"]) == ("Pending", 4)
    assert world.coordinators.pushed == []


async def test_without_min_nodes_it_waits_for_all(world: Any) -> None:
    world.add_job()
    await world.settle()
    await _start(world, 1, workers=["worker-0-1"], missing=["worker-1-1"])
    await _wait(world, 10 * PATIENCE.shrink)
    assert (world.status()["state"], world.status()["nodes"]) == ("Pending", 2)


async def test_a_number_below_the_present_one_is_taken_at_once(shrunken: Any) -> None:
    workers = shrunken.cluster.objects[("DeepSeekTrainingJob", "research", "tiny")]["spec"]["workers"]
    shrunken.cluster.edit_spec(TRAINING_JOB, "tiny", workers={**workers, "numNodes": 1})
    await shrunken.settle()
    assert (shrunken.status()["state"], shrunken.status()["nodes"]) == ("Resizing", 1)


def _want(world: Any, nodes: int) -> None:
    workers = world.cluster.objects[("DeepSeekTrainingJob", "research", "tiny")]["spec"]["workers"]
    world.cluster.edit_spec(TRAINING_JOB, "tiny", workers={**workers, "numNodes": nodes})


@pytest.mark.parametrize("wanted", [3, 5])
async def test_a_number_that_the_rules_refuse_is_refused_of_a_smaller_run_too(
    shrunken: Any, wanted: int
) -> None:
    _want(shrunken, wanted)
    await shrunken.settle()
    assert shrunken.condition("Resized") == ("False", "ResizeRefused")
    message = shrunken.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    assert "globalBatchSize: 8" in message
    assert "2 nodes as before" in message
    assert (shrunken.status()["state"], shrunken.status()["nodes"]) == ("Training", 2)
    _want(shrunken, 4)
    await shrunken.settle()
    assert shrunken.condition("Resized") == ("False", "NodesMissing")
    assert (shrunken.status()["state"], shrunken.status()["nodes"]) == ("Training", 2)


@pytest.mark.parametrize("wanted", [3, 5])
async def test_a_node_that_is_lost_while_a_number_is_refused_ends_no_run(world: Any, wanted: int) -> None:
    world.add_job(workers={"numNodes": 4, "minNodes": 1, "resources": {"cpu": "1", "memory": "3Gi"}})
    await world.settle()
    await _start(world, 1, workers=[f"worker-{index}-1" for index in range(4)])
    _want(world, wanted)
    await world.settle()
    assert world.condition("Resized") == ("False", "ResizeRefused")
    world.cluster.remove_pod("dsjob-tiny-worker-3-1")
    await world.settle()
    world.cluster.unschedulable_pod("dsjob-tiny-worker-3-2", TOO_FEW)
    await _wait(world, PATIENCE.shrink)
    assert (world.status()["state"], world.status()["nodes"]) == ("Resizing", 2)


@pytest.mark.parametrize(("wanted", "standbys"), [(3, []), (5, ["standby-2-1", "standby-3-1"])])
async def test_standby_pods_wait_only_for_nodes_that_could_be_used(
    shrunken: Any, wanted: int, standbys: list[str]
) -> None:
    _want(shrunken, wanted)
    await _wait(shrunken, PATIENCE.grow)
    names = [name.removeprefix("dsjob-tiny-") for name in shrunken.cluster.active_pods()]
    assert names == ["coordinator-2", *standbys, "worker-0-2", "worker-1-2"]
    for index, name in enumerate(standbys):
        shrunken.cluster.start_pod(f"dsjob-tiny-{name}", node=f"node-{index + 8}")
    await shrunken.settle()
    assert shrunken.status()["nodes"] == 2 + len(standbys)


async def test_a_number_that_the_user_lowers_and_withdraws_while_the_run_stops_lets_it_go_on(
    world: Any,
) -> None:
    world.add_job(workers={"numNodes": 4, "minNodes": 1, "resources": {"cpu": "1", "memory": "3Gi"}})
    await world.settle()
    await _start(world, 1, workers=[f"worker-{index}-1" for index in range(4)])
    _want(world, 2)
    await world.settle()
    assert (world.status()["state"], world.status()["nodes"]) == ("Resizing", 2)
    _want(world, 4)
    await world.settle()
    assert [control.desired_state for _, control, _ in world.coordinators.pushed] == ["Stopped", "Running"]
    assert (world.status()["state"], world.status()["nodes"]) == ("Training", 4)
    assert len(world.cluster.active_pods()) == 5


async def test_after_a_suspension_it_begins_with_all_nodes_again(shrunken: Any) -> None:
    shrunken.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await shrunken.settle()
    await _stop(shrunken, 2)
    assert shrunken.condition("Resized") == ("False", "NodesMissing"), "no pod runs that it could have"
    shrunken.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    await shrunken.settle()
    shrunken.cluster.start_pod("dsjob-tiny-coordinator-3", ip="10.0.0.3")
    await shrunken.settle()
    assert len(shrunken.cluster.active_pods()) == 5
    assert (shrunken.status()["nodes"], shrunken.status()["restarts"]) == (4, 0)
    assert shrunken.condition("Resized") == ("True", "Resized")
