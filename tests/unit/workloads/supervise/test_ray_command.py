import re
from importlib.util import find_spec

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.run_config import DatasetRun, TrainingRun
from deepseek_workloads.supervise import ray_command


def ports(arguments: list[str]) -> dict[str, int]:
    found = (re.fullmatch(r"--([a-z-]*port)=(\d+)", argument) for argument in arguments)
    return {match[1]: int(match[2]) for match in found if match}


def test_every_port_but_the_gcs_is_in_the_range_that_a_network_policy_can_name(
    training_run: TrainingRun,
) -> None:
    first, last = environment.RAY_PORT_RANGE
    head = ports(ray_command.head_arguments(training_run, pod_ip="10.0.0.1"))
    worker = ports(ray_command.worker_arguments(training_run, pod_ip="10.0.0.2", head_ip="10.0.0.1"))
    assert head.pop("port") == environment.RAY_PORT
    for chosen in (head, worker):
        assert all(first <= port <= last for port in chosen.values())
        assert len(set(chosen.values())) == len(chosen)


def test_a_node_that_was_started_again_does_not_answer_for_the_one_before(training_run: TrainingRun) -> None:
    def daemons(start: int) -> set[int]:
        arguments = ray_command.worker_arguments(
            training_run, pod_ip="10.0.0.2", head_ip="10.0.0.1", start=start
        )
        found = ports(arguments)
        return {port for name, port in found.items() if not name.endswith("worker-port")}

    for start in range(50):
        assert not daemons(start) & daemons(start + 1)
        assert max(daemons(start)) < min(
            ports(ray_command.worker_arguments(training_run, pod_ip="", head_ip=""))["min-worker-port"],
            environment.RAY_PORT_RANGE[1],
        )


def test_the_head_offers_nothing_that_a_rank_could_be_placed_on(training_run: TrainingRun) -> None:
    arguments = ray_command.head_arguments(training_run, pod_ip="10.0.0.1")
    assert "--num-cpus=0" in arguments
    assert "--num-gpus=0" in arguments


def test_a_worker_has_a_place_for_each_of_its_ranks(training_run: TrainingRun) -> None:
    arguments = ray_command.worker_arguments(training_run, pod_ip="10.0.0.2", head_ip="10.0.0.1")
    assert "--num-cpus=4" in arguments
    assert "--num-gpus=4" in arguments
    assert "--address=10.0.0.1:6379" in arguments


def modules_ready(arguments: list[str]) -> list[str]:
    return next(argument for argument in arguments if argument.startswith("--preload="))[10:].split(",")


def test_what_is_imported_before_it_is_needed_is_there(
    training_run: TrainingRun, dataset_run: DatasetRun
) -> None:
    head = modules_ready(ray_command.head_arguments(training_run, pod_ip="10.0.0.1"))
    ranks = modules_ready(ray_command.worker_arguments(training_run, pod_ip="10.0.0.2", head_ip="10.0.0.1"))
    tasks = modules_ready(ray_command.worker_arguments(dataset_run, pod_ip="10.0.0.2", head_ip="10.0.0.1"))
    assert [name for name in head + ranks + tasks if find_spec(name) is None] == []


def test_a_dataset_worker_has_a_place_for_each_whole_cpu(dataset_run: DatasetRun) -> None:
    arguments = ray_command.worker_arguments(dataset_run, pod_ip="10.0.0.2", head_ip="10.0.0.1")
    assert "--num-cpus=2" in arguments


def test_ray_asks_for_the_runs_token_and_drains_below_the_grace(training_run: TrainingRun) -> None:
    environ = ray_command.ray_environment(training_run, token="t0ken", environ={"PATH": "/bin"})
    assert (environ["RAY_AUTH_MODE"], environ["RAY_AUTH_TOKEN"]) == ("token", "t0ken")
    assert environ["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "17"
    assert environ["PATH"] == "/bin"


def test_ranks_share_a_pods_cpus_unless_the_pod_says_otherwise(training_run: TrainingRun) -> None:
    assert ray_command.ray_environment(training_run, token="", environ={})["OMP_NUM_THREADS"] == "2"
    set_by_user = ray_command.ray_environment(training_run, token="", environ={"OMP_NUM_THREADS": "7"})
    assert set_by_user["OMP_NUM_THREADS"] == "7"
