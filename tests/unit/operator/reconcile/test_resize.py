"""Another number of nodes for a job: a checkpoint, the end of its pods, and others in their place."""

from typing import Any

import pytest

from deepseek_operator.cluster.kinds import TRAINING_JOB
from deepseek_operator.resources.names import ANNOTATION_NODES
from deepseek_workloads.contract.messages import Progress, Verdict
from deepseek_workloads.contract.run_config import TrainingRun, parse_run

STOPPED = Verdict(outcome="Stopped", reason="Stopped", step=7, checkpoint_step=7)
COORDINATOR = "dsjob-tiny-coordinator-1"


def _resize(world: Any, nodes: int) -> None:
    workers = world.cluster.objects[("DeepSeekTrainingJob", "research", "tiny")]["spec"]["workers"]
    world.cluster.edit_spec(TRAINING_JOB, "tiny", workers={**workers, "numNodes": nodes})


async def _stop(world: Any, coordinator: str = COORDINATOR) -> None:
    """The run has written its checkpoint; its pods end."""
    await world.settle()
    world.cluster.finish_pod(coordinator, verdict=STOPPED)
    for _ in range(3):
        await world.settle()
        world.cluster.let_go_terminating()
    await world.settle()


def _run_of(world: Any, pod: str) -> TrainingRun:
    """What the pod reads as its run config."""
    volumes = world.cluster.pod(pod)["spec"]["volumes"]
    (name,) = [each["configMap"]["name"] for each in volumes if "configMap" in each]
    run = parse_run(world.cluster.objects[("ConfigMap", "research", name)]["data"]["run-config.json"])
    assert isinstance(run, TrainingRun)
    return run


async def test_a_running_job_writes_a_checkpoint_and_goes_on_with_another_number_of_pods(world: Any) -> None:
    world.add_job()
    await world.start()
    began = _run_of(world, COORDINATOR)
    _resize(world, 4)
    await world.settle()
    ((ip, control, _),) = world.coordinators.pushed
    assert (ip, control.desired_state) == ("10.0.0.1", "Stopped")
    assert world.status()["state"] == "Resizing"
    assert world.condition("Resized") == ("False", "Resizing")
    assert world.condition("Running") == ("False", "Resizing")
    assert world.condition("Progressing") == ("True", "Resizing")
    assert len(world.cluster.active_pods()) == 3, "the run ends by itself"

    await _stop(world)
    assert world.cluster.active_pods() == ["dsjob-tiny-coordinator-2"]
    world.cluster.start_pod("dsjob-tiny-coordinator-2", ip="10.0.0.2")
    world.coordinators.answers["10.0.0.2"] = Progress(phase="Training", epoch=2, step=8, total_steps=20)
    await world.settle()
    workers = [f"dsjob-tiny-worker-{index}-{2 if index < 2 else 1}" for index in range(4)]
    assert world.cluster.active_pods() == ["dsjob-tiny-coordinator-2", *workers]
    resized = _run_of(world, workers[3])
    assert (began.workers.num_nodes, resized.workers.num_nodes) == (2, 4)
    assert resized.model_copy(update={"workers": began.workers}) == began
    assert _run_of(world, "dsjob-tiny-coordinator-2") == resized

    status = world.status()
    assert (status["nodes"], status["plan"]["worldSize"], status["pods"]["desired"]) == (4, 4, 4)
    assert (status["restarts"], status["failures"], status.get("lastFailure", "")) == (0, 0, "")
    assert world.condition("Resized") == ("True", "Resized")
    told = [reason for reason, _ in world.cluster.events()]
    assert (told.count("Resizing"), told.count("Resized"), told.count("Interrupted")) == (1, 1, 0)


def _measured(world: Any, ip: str, size: int | None) -> None:
    answer = world.coordinators.answers[ip]
    world.coordinators.answers[ip] = answer.model_copy(update={"micro_batch_size": size})


async def test_a_micro_batch_size_that_was_found_is_not_told_of_another_number_of_nodes(world: Any) -> None:
    world.add_job()
    await world.start()
    _measured(world, "10.0.0.1", 4)
    await world.settle()
    assert world.status()["microBatchSize"] == 4
    _resize(world, 4)
    await world.settle()
    assert "microBatchSize" not in world.status()
    await _stop(world)
    world.cluster.start_pod("dsjob-tiny-coordinator-2", ip="10.0.0.2")
    world.coordinators.answers["10.0.0.2"] = Progress(phase="WaitingForWorkers", epoch=2)
    await world.settle()
    assert "microBatchSize" not in world.status()
    _measured(world, "10.0.0.2", 2)
    await world.settle()
    assert world.status()["microBatchSize"] == 2


async def test_nor_is_it_told_where_the_number_was_changed_during_a_suspension(world: Any) -> None:
    world.add_job()
    await world.start()
    _measured(world, "10.0.0.1", 4)
    await world.settle()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await _stop(world)
    assert world.status()["microBatchSize"] == 4
    _resize(world, 4)
    await world.settle()
    assert "microBatchSize" not in world.status()


async def test_back_at_its_first_number_a_job_reads_its_first_run_config(world: Any) -> None:
    world.add_job()
    await world.start()
    _resize(world, 4)
    await _stop(world)
    world.cluster.start_pod("dsjob-tiny-coordinator-2", ip="10.0.0.2")
    world.coordinators.answers["10.0.0.2"] = Progress(phase="Training", epoch=2, step=8, total_steps=20)
    await world.settle()
    _resize(world, 2)
    await _stop(world, "dsjob-tiny-coordinator-2")
    world.cluster.start_pod("dsjob-tiny-coordinator-3", ip="10.0.0.3")
    await world.settle()
    places = ["coordinator-3", "worker-0-3", "worker-1-3"]
    assert world.cluster.pods() == [f"dsjob-tiny-{place}" for place in places]
    assert _run_of(world, "dsjob-tiny-worker-1-3").workers.num_nodes == 2
    assert world.status()["restarts"] == 0


async def test_an_impossible_number_is_refused_by_name_and_the_run_goes_on(world: Any) -> None:
    world.add_job()
    await world.start()
    _resize(world, 3)  # 8 sequences a step
    await world.settle()
    assert world.condition("Resized") == ("False", "ResizeRefused")
    message = world.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    assert "globalBatchSize: 8" in message
    assert "2 nodes as before" in message
    assert world.condition("Accepted") == ("True", "Accepted")
    assert (world.status()["state"], world.status()["nodes"]) == ("Training", 2)
    assert "Stopped" not in [control.desired_state for _, control, _ in world.coordinators.pushed]
    world.cluster.remove_pod("dsjob-tiny-worker-1-1")
    await world.settle()
    assert _run_of(world, "dsjob-tiny-worker-1-2").workers.num_nodes == 2
    _resize(world, 2)
    await world.settle()
    assert world.condition("Resized") == ("True", "Resized")


async def test_a_number_that_is_refused_while_the_run_stops_for_another_is_told_after_it(world: Any) -> None:
    world.add_job()
    await world.start()
    _resize(world, 4)
    await world.settle()
    _resize(world, 3)
    await _stop(world)
    assert world.condition("Resized") == ("False", "ResizeRefused")
    message = world.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    assert "4 nodes as before" in message
    assert (world.status()["nodes"], world.status()["restarts"]) == (4, 0)


async def test_a_number_that_is_withdrawn_while_the_run_stops_lets_it_go_on(world: Any) -> None:
    world.add_job()
    await world.start()
    _resize(world, 4)
    await world.settle()
    _resize(world, 2)
    await world.settle()
    assert [control.desired_state for _, control, _ in world.coordinators.pushed] == ["Stopped", "Running"]
    assert COORDINATOR in world.cluster.active_pods()
    assert world.status()["state"] == "Training"


async def test_a_suspended_job_takes_the_new_number_when_it_goes_on(world: Any) -> None:
    world.add_job()
    await world.start()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await _stop(world)
    assert world.status()["state"] == "Suspended"
    _resize(world, 4)
    await world.settle()
    assert (world.status()["state"], world.cluster.pods()) == ("Suspended", [])
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=False)
    await world.settle()
    world.cluster.start_pod("dsjob-tiny-coordinator-2", ip="10.0.0.2")
    await world.settle()
    assert len(world.cluster.active_pods()) == 5
    assert world.status()["restarts"] == 0


async def test_a_suspended_job_whose_number_was_refused_says_that_another_is_taken(world: Any) -> None:
    world.add_job()
    await world.start()
    _resize(world, 3)
    await world.settle()
    world.cluster.edit_spec(TRAINING_JOB, "tiny", suspend=True)
    await _stop(world)
    assert world.condition("Resized") == ("False", "ResizeRefused")
    _resize(world, 4)
    await world.settle()
    assert world.condition("Resized") == ("True", "Resized")
    message = world.cluster.condition(TRAINING_JOB, "tiny", "Resized")["message"]
    assert message == "the run goes on with the 4 nodes of spec.workers.numNodes"


async def test_a_run_of_an_operator_that_knew_no_sizes_goes_on_and_can_be_resized(world: Any) -> None:
    world.add_job()
    await world.start()
    pods = world.cluster.pods()
    for name in pods:
        del world.cluster.pod(name)["metadata"]["annotations"][ANNOTATION_NODES]
    for field in ("nodes", "reduced"):
        del world.status()[field]
    written = len(world.cluster.writes)
    world.new_leader()
    await world.settle()
    assert not [each for each in world.cluster.writes[written:] if " Pod " in each]
    assert world.cluster.active_pods() == pods
    assert (world.status()["state"], world.status()["nodes"], world.condition("Resized")[0]) == (
        "Training",
        2,
        "",
    )
    _resize(world, 4)
    await _stop(world)
    world.cluster.start_pod("dsjob-tiny-coordinator-2", ip="10.0.0.2")
    await world.settle()
    assert len(world.cluster.active_pods()) == 5
    assert (world.status()["nodes"], world.status()["restarts"]) == (4, 0)


async def test_a_job_whose_pods_wait_for_nodes_takes_the_new_number_at_once(world: Any) -> None:
    world.add_job()
    await world.settle()
    world.cluster.unschedulable_pod(COORDINATOR, "0/1 nodes are available")
    await world.settle()
    assert world.status()["state"] == "Pending"
    _resize(world, 1)
    await world.settle()
    assert world.cluster.pods() == ["dsjob-tiny-coordinator-2"]
    assert _run_of(world, "dsjob-tiny-coordinator-2").workers.num_nodes == 1
    assert (world.status()["restarts"], world.status().get("lastFailure", "")) == (0, "")


@pytest.mark.parametrize("exit_code", [0, 1])
async def test_workers_that_end_with_a_stopping_run_are_not_failures(world: Any, exit_code: int) -> None:
    world.add_job()
    await world.start()
    _resize(world, 4)
    await world.settle()
    world.cluster.finish_pod("dsjob-tiny-worker-1-1", exit_code=exit_code)
    await _stop(world)
    assert world.cluster.active_pods() == ["dsjob-tiny-coordinator-2"]
    assert world.status()["failures"] == 0


async def test_a_run_config_of_another_hand_stops_nothing_but_new_pods(world: Any) -> None:
    world.add_job()
    await world.start()
    _resize(world, 4)
    await world.settle()
    base = world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run")]
    config = {**base, "metadata": {**base["metadata"], "name": "dsjob-tiny-run-4"}}
    world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run-4")] = config
    await _stop(world)
    assert world.cluster.pods() == []
    assert world.condition("Progressing") == ("False", "RefusedByCluster")
    message = world.cluster.condition(TRAINING_JOB, "tiny", "Progressing")["message"]
    assert "ConfigMap dsjob-tiny-run-4 is not the run config of 4 nodes" in message
    del world.cluster.objects[("ConfigMap", "research", "dsjob-tiny-run-4")]
    await world.settle()
    assert world.cluster.active_pods() == ["dsjob-tiny-coordinator-2"]
    assert world.status()["restarts"] == 0
