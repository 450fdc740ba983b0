import pytest

from deepseek_workloads.launch.ray_services import IDLE_AGENT, option, with_ready_process, without_agents

RAYLET = [
    "raylet",
    "--node_id=5df7",
    "--session_dir=/tmp/ray/session_1",
    "--runtime_env_agent_port=20002",
    "--dashboard_agent_command=python agent.py --minimal",
    "--runtime_env_agent_command=python main.py --port=1",
]


def test_a_raylet_gets_idle_agents_and_is_otherwise_left_alone() -> None:
    assert without_agents(RAYLET) == [
        *RAYLET[:-2],
        f"--dashboard_agent_command={IDLE_AGENT}",
        f"--runtime_env_agent_command={IDLE_AGENT}",
    ]


def test_another_daemon_is_left_alone() -> None:
    assert without_agents(["gcs_server", "--port=6379"]) == ["gcs_server", "--port=6379"]


@pytest.mark.parametrize(("cpus", "ready"), [(0, 1), (1, 1), (8, 8)])
def test_a_node_keeps_a_process_ready_for_each_cpu_and_the_head_one(cpus: int, ready: int) -> None:
    command = ["raylet", f"--num_prestart_python_workers={cpus}"]
    assert with_ready_process(command) == ["raylet", f"--num_prestart_python_workers={ready}"]


def test_an_option_is_found_by_its_name() -> None:
    assert option(RAYLET, "session_dir") == "/tmp/ray/session_1"


def test_an_option_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match="--node_ip is not among the raylet's options"):
        option(RAYLET, "node_ip")
