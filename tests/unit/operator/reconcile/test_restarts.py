"""What RESTARTS counts: what broke, over all coordinator pods, and not what the user asked for."""

from typing import Any

from deepseek_operator.cluster.kinds import TRAINING_JOB
from deepseek_workloads.contract.messages import Progress, Verdict

TRAINING = Progress(phase="Training", epoch=1, step=5, total_steps=20)


async def test_a_suspension_is_no_restart_and_a_lost_pod_is_one(world: Any) -> None:
    world.add_job()
    await world.start()
    world.coordinators.answers["10.0.0.1"] = TRAINING.model_copy(update={"restarts": 2})
    await world.settle()
    assert world.status()["restarts"] == 2
    await _suspend_and_resume(world, coordinator=1)
    assert (world.status()["restarts"], world.status()["state"]) == (2, "Recovering")
    world.cluster.start_pod("dsjob-tiny-coordinator-2", ip="10.0.0.2")
    world.coordinators.answers["10.0.0.2"] = TRAINING.model_copy(update={"restarts": 1})
    await world.settle()
    assert world.status()["restarts"] == 3
    world.cluster.remove_pod("dsjob-tiny-coordinator-2")
    await world.settle()
    assert world.cluster.active_pods()[0] == "dsjob-tiny-coordinator-3"
    assert world.status()["restarts"] == 4


async def test_a_run_that_was_only_suspended_starts_again_as_if_for_the_first_time(world: Any) -> None:
    world.add_job()
    await world.start()
    for coordinator in (1, 2):
        await _suspend_and_resume(world, coordinator=coordinator)
        assert (world.status()["restarts"], world.status()["state"]) == (0, "Starting")
        ip = f"10.0.1.{coordinator}"
        world.cluster.start_pod(f"dsjob-tiny-coordinator-{coordinator + 1}", ip=ip)
        world.coordinators.answers[ip] = TRAINING
        await world.settle()
    assert world.status()["restarts"] == 0


async def _suspend_and_resume(world: Any, *, coordinator: int) -> None:
    """The pods end in between; `coordinator` is the number of the one that runs."""
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await world.settle()
    stopped = Verdict(outcome="Stopped", reason="Stopped", step=7)
    world.cluster.finish_pod(f"dsjob-tiny-coordinator-{coordinator}", verdict=stopped)
    for _ in range(2):
        await world.settle()
        world.cluster.let_go_terminating()
    await world.settle()
    assert world.cluster.pods() == []
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    await world.settle()
