"""The operator is killed at each of its calls in turn, and starts again from nothing: the end is the same.

A call fails either before it has an effect, or after it with its answer lost. Between the passes, the same
things happen to the pods as in the undisturbed life.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deepseek_operator.cluster.interface import ClusterError
from deepseek_operator.cluster.kinds import TRAINING_JOB
from deepseek_operator.status.size import Patience
from deepseek_workloads.contract.messages import Progress, Verdict

SUCCESS = Verdict(
    outcome="Succeeded", reason="Completed", step=20, digest="sha256:" + "d" * 64, uri="s3://bucket/tiny/x"
)
COORDINATOR_IPS = {1: "10.0.0.1", 2: "10.0.0.2", 3: "10.0.0.3", 4: "10.0.0.4"}


async def _settle(world: Any) -> None:
    """Passes until one is neither cut off nor has an effect. Each begins with nothing in memory."""
    for _ in range(40):
        before = world.effects()
        world.dependencies = type(world.dependencies)()
        try:
            await world.reconcile()
        except ClusterError:
            continue
        if world.effects() == before:
            return
    raise AssertionError(f"the operator goes on writing: {world.cluster.writes[-10:]}")


def _start_coordinator(world: Any, incarnation: int) -> None:
    ip = COORDINATOR_IPS[incarnation]
    world.cluster.start_pod(f"dsjob-tiny-coordinator-{incarnation}", ip=ip)
    world.coordinators.answers[ip] = Progress(
        phase="Training", epoch=incarnation, step=5 * incarnation, total_steps=20
    )


async def _life(world: Any) -> None:
    """A job loses a worker to a crash, its coordinator to its node, is suspended, resumed, given
    two nodes more, and succeeds."""
    cluster = world.cluster
    world.add_job(runPolicy={"backoffLimit": 2})
    await _settle(world)
    _start_coordinator(world, 1)
    await _settle(world)
    for index in range(2):
        cluster.start_pod(f"dsjob-tiny-worker-{index}-1", node=f"node-{index}")
    await _settle(world)
    cluster.finish_pod("dsjob-tiny-worker-1-1", exit_code=1)
    await _settle(world)
    cluster.start_pod("dsjob-tiny-worker-1-2")
    cluster.pod("dsjob-tiny-coordinator-1")["metadata"]["deletionTimestamp"] = world.clock.stamp()
    del world.coordinators.answers[COORDINATOR_IPS[1]]
    await _settle(world)
    _start_coordinator(world, 2)
    await _settle(world)
    cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await _settle(world)
    cluster.finish_pod("dsjob-tiny-coordinator-2", verdict=Verdict(outcome="Stopped", reason="Stopped"))
    del world.coordinators.answers[COORDINATOR_IPS[2]]
    for _ in range(2):
        await _settle(world)
        cluster.let_go_terminating()
    await _settle(world)
    cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    await _settle(world)
    _start_coordinator(world, 3)
    await _settle(world)
    workers = cluster.objects[("DeepSeekTrainingJob", "research", "tiny")]["spec"]["workers"]
    cluster.edit_spec(TRAINING_JOB, "tiny", workers={**workers, "numNodes": 4})
    await _settle(world)
    cluster.finish_pod("dsjob-tiny-coordinator-3", verdict=Verdict(outcome="Stopped", reason="Stopped"))
    del world.coordinators.answers[COORDINATOR_IPS[3]]
    for _ in range(2):
        await _settle(world)
        cluster.let_go_terminating()
    await _settle(world)
    _start_coordinator(world, 4)
    await _settle(world)
    cluster.finish_pod("dsjob-tiny-coordinator-4", verdict=SUCCESS)
    await _settle(world)
    cluster.let_go_terminating()
    await _settle(world)


async def _elastic_life(world: Any) -> None:
    """A job finds one node of two, goes on with it, finds the other, grows, and succeeds."""
    cluster, patience = world.cluster, Patience()
    world.add_job(workers={"numNodes": 2, "minNodes": 1, "resources": {"cpu": "1", "memory": "3Gi"}})
    await _settle(world)
    _start_coordinator(world, 1)
    await _settle(world)
    cluster.start_pod("dsjob-tiny-worker-0-1", node="node-0")
    cluster.unschedulable_pod("dsjob-tiny-worker-1-1", "0/1 nodes are available")
    world.clock.advance(patience.shrink)
    await _stop_and_begin(world, 1)
    cluster.start_pod("dsjob-tiny-worker-0-2", node="node-0")
    await _settle(world)
    world.clock.advance(patience.grow)
    await _settle(world)
    cluster.start_pod("dsjob-tiny-standby-1-1", node="node-1")
    await _stop_and_begin(world, 2)
    cluster.finish_pod("dsjob-tiny-coordinator-3", verdict=SUCCESS)
    await _settle(world)
    cluster.let_go_terminating()
    await _settle(world)


async def _stop_and_begin(world: Any, incarnation: int) -> None:
    """The run is asked to stop and does; its pods end, and the next coordinator starts."""
    await _settle(world)
    stopped = Verdict(outcome="Stopped", reason="Stopped")
    world.cluster.finish_pod(f"dsjob-tiny-coordinator-{incarnation}", verdict=stopped)
    del world.coordinators.answers[COORDINATOR_IPS[incarnation]]
    for _ in range(2):
        await _settle(world)
        world.cluster.let_go_terminating()
    await _settle(world)
    _start_coordinator(world, incarnation + 1)
    await _settle(world)


def _end(world: Any) -> dict[str, Any]:
    cluster = world.cluster
    created = [write for write in cluster.writes if write.startswith("create Pod")]
    return {
        "objects": sorted(key for key in cluster.objects if key[0] not in ("Event", "Lease")),
        "status": json.dumps(cluster.status(TRAINING_JOB, "tiny"), sort_keys=True),
        "told": sorted(cluster.events()),
        "created": sorted(created),
    }


Life = Callable[[Any], Awaitable[None]]


async def _live(life: Life, new_world: Callable[[], Any], **cut: int) -> Any:
    world = new_world()
    for name, call in cut.items():
        setattr(world.cluster, name, call)
    await life(world)
    return world


def test_the_undisturbed_life_ends_in_success(new_world: Callable[[], Any]) -> None:
    undisturbed = asyncio.run(_live(_life, new_world))
    assert undisturbed.status()["state"] == "Succeeded"
    assert undisturbed.status()["failures"] == 1
    assert undisturbed.cluster.pods() == ["dsjob-tiny-coordinator-4"]
    assert undisturbed.cluster.calls > 100


def test_the_undisturbed_life_of_an_elastic_job_counts_no_restart(new_world: Callable[[], Any]) -> None:
    status = asyncio.run(_live(_elastic_life, new_world)).status()
    assert (status["state"], status["nodes"], status["restarts"]) == ("Succeeded", 2, 0)


@pytest.mark.parametrize("cut", ["fail_at", "lose_answer_at"])
@pytest.mark.parametrize("life", [_life, _elastic_life])
def test_killed_around_any_write_the_end_is_the_same(
    life: Life, new_world: Callable[[], Any], cut: str
) -> None:
    """Reads have no effect: killed at one of them is killed after the write before it."""
    undisturbed = asyncio.run(_live(life, new_world))
    expected = _end(undisturbed)
    for call in undisturbed.cluster.write_calls:
        world = asyncio.run(_live(life, new_world, **{cut: call}))
        assert _end(world) == expected, f"{cut} call {call}"
