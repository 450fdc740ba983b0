"""Drift checks of a dataset that is prepared: one pod a time, told once, whatever is repeated."""

from typing import Any

import pytest

from deepseek_operator.cluster.interface import Unavailable
from deepseek_operator.cluster.kinds import DATASET
from deepseek_workloads.contract.messages import DriftVerdict, Verdict

DIGEST = "sha256:" + "d" * 64
PREPARED = Verdict(outcome="Succeeded", reason="Completed", uri="s3://bucket/docs", digest=DIGEST)
HOURLY = {"schedule": "0 * * * *", "sampleDocuments": 500}
DRIFTED = DriftVerdict(
    outcome="Compared", new_objects=3, documents=500, divergences={"length": 0.31, "language": 0.02}
)
STEADY = DRIFTED.model_copy(update={"divergences": {"length": 0.01, "language": 0.02}})


async def _prepared(world: Any, **check: Any) -> None:
    """At 12:00; the first check is due at 13:00."""
    world.add_dataset(driftCheck=HOURLY | check)
    await world.start(DATASET, "docs", prefix="dsdata-docs")
    world.cluster.finish_pod("dsdata-docs-coordinator-1", verdict=PREPARED)
    await world.settle(DATASET, "docs")
    world.cluster.let_go_terminating()
    await world.settle(DATASET, "docs")


def _checks(world: Any) -> list[str]:
    return [name for name in world.cluster.pods() if "drift-check" in name]


async def _due(world: Any, *, hours: float = 1.0) -> list[str]:
    world.clock.advance(3600 * hours)
    await world.settle(DATASET, "docs")
    return _checks(world)


def _told(world: Any) -> tuple[str, str]:
    return world.condition("DriftDetected", DATASET, "docs")


async def test_a_check_begins_at_its_time_and_not_before(world: Any) -> None:
    await _prepared(world)
    assert _checks(world) == []
    status = world.status(DATASET, "docs")["driftCheck"]
    assert status["nextScheduleTime"] == "2026-11-22T13:00:00Z"
    [name] = await _due(world)
    spec = world.cluster.pod(name)["spec"]
    assert spec["activeDeadlineSeconds"] == 3600
    [container] = spec["containers"]
    assert container["args"][:4] == ["--digest", DIGEST, "--documents", "500"]
    assert "DEEPSEEK_JOB_TOKEN" not in [each["name"] for each in container["env"]]
    assert world.status(DATASET, "docs")["driftCheck"]["lastScheduleTime"] == "2026-11-22T13:00:00Z"
    assert world.status(DATASET, "docs")["state"] == "Succeeded"


async def test_drift_is_a_condition_with_its_figures_and_an_event(world: Any) -> None:
    await _prepared(world)
    [name] = await _due(world)
    world.cluster.finish_pod(name, verdict=DRIFTED)
    await world.settle(DATASET, "docs")
    assert _told(world) == ("True", "FeaturesDrifted")
    message = world.cluster.condition(DATASET, "docs", "DriftDetected")["message"]
    assert "length: PSI language 0.02, length 0.31 (limit 0.2), 500 documents of 3 new objects" in message
    assert ("DriftDetected", message) in world.cluster.events()
    status = world.status(DATASET, "docs")["driftCheck"]
    assert status["divergences"] == [
        {"name": "language", "value": "0.02"},
        {"name": "length", "value": "0.31"},
    ]
    assert (status["newObjects"], status["documents"]) == (3, 500)
    assert _checks(world) == []


async def test_a_steady_source_takes_the_condition_back(world: Any) -> None:
    await _prepared(world)
    for verdict, expected in ((DRIFTED, "True"), (STEADY, "False")):
        [name] = await _due(world)
        world.cluster.finish_pod(name, verdict=verdict)
        await world.settle(DATASET, "docs")
        assert _told(world)[0] == expected
    reasons = [reason for reason, _ in world.cluster.events()]
    assert reasons.count("DriftDetected") == reasons.count("NoDrift") == 1


async def test_the_threshold_decides(world: Any) -> None:
    await _prepared(world, threshold="0.5")
    [name] = await _due(world)
    world.cluster.finish_pod(name, verdict=DRIFTED)
    await world.settle(DATASET, "docs")
    assert _told(world) == ("False", "NoDrift")


async def test_of_missed_times_only_the_last_is_caught_up(world: Any) -> None:
    await _prepared(world)
    [name] = await _due(world, hours=5.5)
    assert world.status(DATASET, "docs")["driftCheck"]["lastScheduleTime"] == "2026-11-22T17:00:00Z"
    world.cluster.finish_pod(name, verdict=STEADY)
    await world.settle(DATASET, "docs")
    assert _checks(world) == []


async def test_no_check_begins_beside_another(world: Any) -> None:
    await _prepared(world)
    [name] = await _due(world)
    world.cluster.start_pod(name)
    assert await _due(world) == [name]
    world.cluster.finish_pod(name, verdict=STEADY)
    await world.settle(DATASET, "docs")
    [following] = _checks(world)
    assert following != name


async def test_one_that_found_no_node_makes_room_for_the_next(world: Any) -> None:
    await _prepared(world)
    [name] = await _due(world)
    world.cluster.unschedulable_pod(name, "no node has 1 CPU free")
    [following] = await _due(world)
    assert following != name


async def test_suspended_checks_do_not_begin(world: Any) -> None:
    await _prepared(world, suspend=True)
    assert await _due(world, hours=30) == []
    assert "nextScheduleTime" not in (world.status(DATASET, "docs").get("driftCheck") or {})


async def test_a_check_without_a_verdict_is_not_known(world: Any) -> None:
    await _prepared(world)
    [name] = await _due(world)
    world.cluster.finish_pod(name, exit_code=137, reason="OOMKilled")
    await world.settle(DATASET, "docs")
    assert _told(world) == ("Unknown", "CheckFailed")
    assert "OOMKilled" in world.cluster.condition(DATASET, "docs", "DriftDetected")["message"]


async def test_without_the_field_a_running_check_is_removed(world: Any) -> None:
    await _prepared(world)
    await _due(world)
    world.cluster.edit_spec(DATASET, "docs", driftCheck=None)
    await world.settle(DATASET, "docs")
    assert _checks(world) == []


async def test_a_schedule_that_became_impossible_is_told(world: Any) -> None:
    await _prepared(world)
    world.cluster.edit_spec(DATASET, "docs", driftCheck={"schedule": "0 0 30 2 *"})
    await world.settle(DATASET, "docs")
    assert _told(world) == ("Unknown", "InvalidSchedule")


async def _lived(world: Any) -> Any:
    [name] = await _due(world)
    world.cluster.finish_pod(name, verdict=DRIFTED)
    await world.settle(DATASET, "docs")
    return world


@pytest.mark.parametrize("lost", ["fail_at", "lose_answer_at"])
async def test_killed_at_any_call_it_ends_in_the_same_state(new_world: Any, lost: str) -> None:
    whole = new_world()
    await _prepared(whole)
    before = whole.cluster.calls
    await _lived(whole)
    for call in range(before + 1, whole.cluster.calls + 1):
        world = new_world()
        await _prepared(world)
        setattr(world.cluster, lost, call)
        with_failure = _survivor(world)
        await _lived(with_failure)
        assert world.status(DATASET, "docs") == whole.status(DATASET, "docs")
        assert sorted(world.cluster.events()) == sorted(whole.cluster.events())
        assert world.cluster.pods() == whole.cluster.pods()


def _survivor(world: Any) -> Any:
    """It begins again after the call that failed."""
    settle = world.settle

    async def again(*arguments: Any) -> Any:
        try:
            return await settle(*arguments)
        except Unavailable:
            world.new_leader()
            return await settle(*arguments)

    world.settle = again
    return world
