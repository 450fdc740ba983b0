"""Whatever is killed, the job reaches the same final step with the same samples and the same losses."""

import pytest
from harness.kubectl import condition, conditions_in_words
from harness.platform import Platform
from harness.processes import kill_in_pod

STEPS = 40
# Losses of a restarted run differ by the order of floating-point sums only.
LOSS_TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def expected(platform: Platform, undisturbed: str) -> dict[int, float]:
    return platform.history(undisturbed).losses()


def assert_as_undisturbed(platform: Platform, name: str, expected: dict[int, float]) -> None:
    job = platform.wait_until_finished(name)
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    history = platform.history(name)
    assert sorted(history.steps) == list(range(1, STEPS + 1))
    assert history.sample_ids() == {
        step: {tuple(range(8 * (step - 1), 8 * step))} for step in range(1, STEPS + 1)
    }
    assert history.losses() == pytest.approx(expected, abs=LOSS_TOLERANCE)
    commits = [record["epoch"] for record in history.log]
    assert commits == sorted(commits), "an older epoch committed after a newer one had begun"


def test_a_killed_worker_process(platform: Platform, dataset: str, expected: dict[int, float]) -> None:
    name = platform.apply_job("worker-process", dataset)
    platform.wait_for_step(name, 12)
    kill_in_pod(platform.kubectl, platform.worker_pods(name)[0], "RayTrainWorker")
    assert_as_undisturbed(platform, name, expected)


def test_a_killed_driver(platform: Platform, dataset: str, expected: dict[int, float]) -> None:
    name = platform.apply_job("driver", dataset)
    platform.wait_for_step(name, 12)
    kill_in_pod(platform.kubectl, platform.coordinator_pod(name), "deepseek_workloads.launch.ray_train")
    assert_as_undisturbed(platform, name, expected)


def test_a_killed_ray_head(platform: Platform, dataset: str, expected: dict[int, float]) -> None:
    name = platform.apply_job("head", dataset)
    platform.wait_for_step(name, 12)
    kill_in_pod(platform.kubectl, platform.coordinator_pod(name), "gcs_server")
    assert_as_undisturbed(platform, name, expected)


def test_a_killed_worker_pod_and_operator(
    platform: Platform, dataset: str, expected: dict[int, float]
) -> None:
    name = platform.apply_job("worker-pod", dataset)
    platform.wait_for_step(name, 12)
    platform.kill_operator()
    platform.kubectl.delete("pod", platform.worker_pods(name)[1], "--grace-period=0", "--force")
    assert_as_undisturbed(platform, name, expected)
    assert platform.get("dsjob", name)["status"]["failures"] == 0


def test_a_killed_coordinator_pod(platform: Platform, dataset: str, expected: dict[int, float]) -> None:
    name = platform.apply_job("coordinator-pod", dataset)
    platform.wait_for_step(name, 12)
    platform.kubectl.delete("pod", platform.coordinator_pod(name), "--grace-period=0", "--force")
    assert_as_undisturbed(platform, name, expected)


def test_a_lost_node(platform: Platform, dataset: str, expected: dict[int, float]) -> None:
    name = platform.apply_job("node-lost", dataset, platform.workers_on_the_second_node())
    platform.wait_for_step(name, 12)
    platform.cluster.kill_node(platform.second_node)
    try:
        platform.wait_for_step(name, 20, deadline_seconds=240)
    finally:
        platform.cluster.start_node(platform.second_node)
    assert_as_undisturbed(platform, name, expected)
    assert platform.get("dsjob", name)["status"]["failures"] == 0


def test_a_partitioned_nodes_stale_worker_never_commits(
    platform: Platform, dataset: str, expected: dict[int, float]
) -> None:
    name = platform.apply_job("partition", dataset, platform.workers_on_the_second_node())
    platform.wait_for_step(name, 12)
    platform.cluster.partition_node(platform.second_node)
    try:
        platform.wait_for_step(name, 20, deadline_seconds=240)
    finally:
        platform.cluster.heal_node(platform.second_node)
    assert_as_undisturbed(platform, name, expected)
