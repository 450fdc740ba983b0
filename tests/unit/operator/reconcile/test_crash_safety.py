"""The operator is killed at each of its calls in turn, and starts again from nothing: the end is the same.

A call fails either before it has an effect, or after it with its answer lost. Between the passes, the same
things happen to the pods as in the undisturbed life.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from deepseek_operator.cluster.interface import ClusterError
from deepseek_operator.cluster.kinds import TRAINING_JOB
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


def _end(world: Any) -> dict[str, Any]:
    cluster = world.cluster
    created = [write for write in cluster.writes if write.startswith("create Pod")]
    return {
        "objects": sorted(key for key in cluster.objects if key[0] not in ("Event", "Lease")),
        "status": json.dumps(cluster.status(TRAINING_JOB, "tiny"), sort_keys=True),
        "told": sorted(cluster.events()),
        "created": sorted(created),
    }


async def _live(new_world: Callable[[], Any], **cut: int) -> Any:
    world = new_world()
    for name, call in cut.items():
        setattr(world.cluster, name, call)
    await _life(world)
    return world


@pytest.fixture
def undisturbed(new_world: Callable[[], Any]) -> Any:
    return asyncio.run(_live(new_world))


def test_the_undisturbed_life_ends_in_success(undisturbed: Any) -> None:
    assert undisturbed.status()["state"] == "Succeeded"
    assert undisturbed.status()["failures"] == 1
    assert undisturbed.cluster.pods() == ["dsjob-tiny-coordinator-4"]
    assert undisturbed.cluster.calls > 100


@pytest.mark.parametrize("cut", ["fail_at", "lose_answer_at"])
def test_killed_around_any_write_the_end_is_the_same(
    undisturbed: Any, new_world: Callable[[], Any], cut: str
) -> None:
    """Reads have no effect: killed at one of them is killed after the write before it."""
    expected = _end(undisturbed)
    for call in undisturbed.cluster.write_calls:
        world = asyncio.run(_live(new_world, **{cut: call}))
        assert _end(world) == expected, f"{cut} call {call}"
