"""Whatever is killed, the job reaches the same final step with the same samples and the same losses."""

import pytest
from harness.kubectl import condition, conditions_in_words
from harness.platform import Platform
from harness.processes import kill_in_pod
from harness.run_history import RunHistory

# Losses of a restarted run differ by the order of floating-point sums only.
LOSS_TOLERANCE = 2e-3
# Steps after the kill by which a run has shown that it goes on.
RECOVERED = 25


@pytest.fixture(scope="module")
def expected(platform: Platform, undisturbed: str) -> RunHistory:
    return platform.history(undisturbed)


def assert_as_undisturbed(platform: Platform, name: str, expected: RunHistory) -> None:
    job = platform.wait_until_finished(name)
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    history = platform.history(name)
    assert history.sample_ids() == expected.sample_ids()
    assert history.losses() == pytest.approx(expected.losses(), abs=LOSS_TOLERANCE)
    commits = [record["epoch"] for record in history.log]
    assert commits == sorted(commits), "an older epoch committed after a newer one had begun"


def test_a_killed_worker_process(platform: Platform, dataset: str, expected: RunHistory) -> None:
    name = platform.apply_job("worker-process", dataset)
    platform.wait_for_step(name, 25)
    kill_in_pod(platform.kubectl, platform.worker_pods(name)[0], "RayTrainWorker")
    assert_as_undisturbed(platform, name, expected)


def test_a_killed_driver(platform: Platform, dataset: str, expected: RunHistory) -> None:
    name = platform.apply_job("driver", dataset)
    platform.wait_for_step(name, 25)
    kill_in_pod(platform.kubectl, platform.coordinator_pod(name), "deepseek_workloads.launch.ray_train")
    assert_as_undisturbed(platform, name, expected)


def test_a_killed_ray_head(platform: Platform, dataset: str, expected: RunHistory) -> None:
    name = platform.apply_job("head", dataset)
    platform.wait_for_step(name, 25)
    kill_in_pod(platform.kubectl, platform.coordinator_pod(name), "gcs_server")
    assert_as_undisturbed(platform, name, expected)


def test_a_killed_worker_pod_and_operator(platform: Platform, dataset: str, expected: RunHistory) -> None:
    name = platform.apply_job("worker-pod", dataset)
    platform.wait_for_step(name, 25)
    platform.kill_operator()
    platform.kubectl.delete("pod", platform.worker_pods(name)[1], "--grace-period=0", "--force")
    assert_as_undisturbed(platform, name, expected)
    assert platform.get("dsjob", name)["status"]["failures"] == 0


def test_a_killed_coordinator_pod(platform: Platform, dataset: str, expected: RunHistory) -> None:
    name = platform.apply_job("coordinator-pod", dataset)
    platform.wait_for_step(name, 25)
    platform.kubectl.delete("pod", platform.coordinator_pod(name), "--grace-period=0", "--force")
    assert_as_undisturbed(platform, name, expected)


def test_a_lost_node(platform: Platform, dataset: str, expected: RunHistory) -> None:
    name = platform.apply_job("node-lost", dataset, platform.workers_on_the_second_node())
    platform.wait_for_step(name, 25)
    platform.cluster.kill_node(platform.second_node)
    try:
        platform.wait_for_step(name, 25 + RECOVERED, deadline_seconds=240)
    finally:
        platform.cluster.start_node(platform.second_node)
    assert_as_undisturbed(platform, name, expected)
    assert platform.get("dsjob", name)["status"]["failures"] == 0


def test_a_partitioned_nodes_stale_worker_never_commits(
    platform: Platform, dataset: str, expected: RunHistory
) -> None:
    name = platform.apply_job("partition", dataset, platform.workers_on_the_second_node())
    platform.wait_for_step(name, 25)
    platform.cluster.partition_node(platform.second_node)
    try:
        platform.wait_for_step(name, 25 + RECOVERED, deadline_seconds=240)
    finally:
        platform.cluster.heal_node(platform.second_node)
    assert_as_undisturbed(platform, name, expected)
