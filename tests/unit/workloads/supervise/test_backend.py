"""Which processes a run's pods start."""

import sys

import pytest

from deepseek_workloads.contract.run_config import DatasetRun, TrainingRun
from deepseek_workloads.supervise.backend import Backend, backend_of


def backend(run: TrainingRun | DatasetRun, **environ: str) -> Backend:
    return backend_of(run, token="secret", run_config="/etc/deepseek/run.json", environ=environ)


def test_ray_has_a_head_and_its_driver_restarts_groups(training_run: TrainingRun) -> None:
    ray = backend(training_run)
    assert ray.driver == "deepseek_workloads.launch.ray_train"
    assert not ray.epoch_per_attempt
    assert "--head" in (ray.head(pod_ip="10.0.0.1") or [])
    assert "--address=10.0.0.1:6379" in ray.worker(pod_ip="10.0.0.2", coordinator_ip="10.0.0.1", start=0)


def test_a_dataset_is_always_prepared_by_ray(dataset_run: DatasetRun) -> None:
    assert backend(dataset_run).driver == "deepseek_workloads.launch.ray_prepare"


@pytest.fixture
def horovod(training_run: TrainingRun) -> Backend:
    return backend(training_run.model_copy(update={"backend": "horovod"}))


def test_horovod_has_no_head_and_every_attempt_needs_new_processes(horovod: Backend) -> None:
    assert horovod.driver == "deepseek_workloads.launch.horovod"
    assert horovod.head(pod_ip="10.0.0.1") is None
    assert horovod.epoch_per_attempt


def test_horovods_workers_know_where_the_driver_is(horovod: Backend) -> None:
    python, _, module, *arguments = horovod.worker(pod_ip="10.0.0.2", coordinator_ip="10.0.0.1", start=3)
    assert (python, module) == (sys.executable, "deepseek_workloads.launch.horovod_node")
    assert arguments == ["--run-config=/etc/deepseek/run.json", "--coordinator-ip=10.0.0.1"]


def test_no_rank_waits_for_ever_for_a_peer(horovod: Backend) -> None:
    timeout = int(horovod.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"])
    check = int(horovod.environ["HOROVOD_STALL_CHECK_TIME_SECONDS"])
    shutdown = int(horovod.environ["HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"])
    assert timeout >= 120
    assert 0 < check <= shutdown


def test_the_pods_environment_wins(training_run: TrainingRun) -> None:
    run = training_run.model_copy(update={"backend": "horovod"})
    assert backend(run, HOROVOD_GLOO_TIMEOUT_SECONDS="7").environ["HOROVOD_GLOO_TIMEOUT_SECONDS"] == "7"


def test_no_token_of_ray_is_in_horovods_environment(horovod: Backend) -> None:
    assert "secret" not in horovod.environ.values()
