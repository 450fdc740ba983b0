import pytest

from deepseek_workloads.launch.ray_services import IDLE_AGENT, option, without_agent

RAYLET = [
    "raylet",
    "--node_id=5df7",
    "--session_dir=/tmp/ray/session_1",
    "--runtime_env_agent_port=20002",
    "--dashboard_agent_command=python agent.py --minimal",
]


def test_a_raylet_gets_an_idle_agent_and_is_otherwise_left_alone() -> None:
    assert without_agent(RAYLET) == [*RAYLET[:-1], f"--dashboard_agent_command={IDLE_AGENT}"]


def test_another_daemon_is_left_alone() -> None:
    assert without_agent(["gcs_server", "--port=6379"]) == ["gcs_server", "--port=6379"]


def test_an_option_is_found_by_its_name() -> None:
    assert option(RAYLET, "session_dir") == "/tmp/ray/session_1"


def test_an_option_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match="--node_ip is not among the raylet's options"):
        option(RAYLET, "node_ip")
