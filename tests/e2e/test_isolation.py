"""What a running job is protected from: its neighbours' connections, control without its token, leaks."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness.kubectl import Kubectl, KubectlError
from harness.platform import NAMESPACE, Platform
from harness.probe import COORDINATOR_PORTS, listening_ports, reached
from harness.secrecy import NAMESPACES, leaks, readable_places, secret_values

JOB = "held"


@dataclass(frozen=True)
class HeldJob:
    """A job in the midst of training: the addresses of its pods, and what only it may know."""

    coordinator: str
    worker: str
    worker_ports: tuple[int, ...]  # that the worker's processes listen on
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def held(platform: Platform, dataset: str) -> Iterator[HeldJob]:
    platform.apply_job(JOB, dataset, {"training": {"steps": 100_000}, "checkpoint": {"everySteps": 50_000}})
    platform.wait_for_step(JOB, 1)
    (coordinator,) = platform.pods(JOB, role="coordinator")
    worker = platform.pods(JOB, role="worker")[0]
    yield HeldJob(
        coordinator=coordinator["status"]["podIP"],
        worker=worker["status"]["podIP"],
        worker_ports=listening_ports(platform.kubectl, worker["metadata"]["name"]),
        secrets=secret_values(platform),
    )
    platform.kubectl.delete("dsjob", JOB)


def test_nobody_else_reaches_the_coordinator_or_a_worker(
    platform: Platform, held: HeldJob, outsiders: list[tuple[Kubectl, str]]
) -> None:
    assert held.worker_ports, "the worker listens for its peers, else there is nothing to protect"
    addresses = [f"{held.coordinator}:{port}" for port in COORDINATOR_PORTS]
    addresses += [f"{held.worker}:{port}" for port in held.worker_ports]
    inside = platform.worker_pods(JOB)[1]
    for address in addresses:
        assert connects_from_inside(platform.kubectl, inside, address), f"{address} is open within the job"
    assert {pod: reached(kubectl, pod, addresses) for kubectl, pod in outsiders} == {
        pod: [] for _, pod in outsiders
    }


def connects_from_inside(kubectl: Kubectl, pod: str, address: str) -> bool:
    host, port = address.rsplit(":", 1)
    program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)"
    kubectl.run("exec", pod, "--", "python", "-c", program, host, port)
    return True


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer 0123abcd"])
@pytest.mark.parametrize("path", ["control", "report"])
def test_control_needs_the_jobs_token(platform: Platform, held: HeldJob, path: str, token: str) -> None:
    """Asked from a worker: nobody else gets as far."""
    program = """
import sys, urllib.error, urllib.request
body = b'{"generation": 99, "desiredState": "Stopped"}'
request = urllib.request.Request(sys.argv[1], data=body, headers={"Authorization": sys.argv[2]})
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    url = f"http://{held.coordinator}:8080/{path}"
    assert platform.kubectl.exec_python(platform.worker_pods(JOB)[1], program, url, token).strip() == "401"


@pytest.mark.parametrize("forged", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "0123abcd" * 8}])
def test_ray_refuses_a_client_without_the_jobs_token(
    platform: Platform, held: HeldJob, forged: dict[str, str]
) -> None:
    """From a place that the network policy lets through: another process of the job."""
    program = (
        "from ray._raylet import GcsClient; import sys;"
        "print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=5)))"
    )

    def nodes(environment: dict[str, str]) -> str:
        assignments = [f"{name}={value}" for name, value in environment.items()]
        command = ["env", *assignments, "python", "-c", program, f"{held.coordinator}:6379"]
        return platform.kubectl.run("exec", platform.worker_pods(JOB)[1], "--", *command)

    assert nodes({"RAY_AUTH_MODE": "token"}).split()[-1] == "3"
    with pytest.raises(KubectlError, match="AuthenticationError"):
        nodes({"RAY_AUTH_MODE": "token", **forged})


def test_workloads_have_no_service_account_token_and_a_read_only_root(
    platform: Platform, held: HeldJob
) -> None:
    program = """
import os
try:
    open("/written", "w")
    print("root is writable")
except OSError:
    pass
print(os.path.exists("/var/run/secrets/kubernetes.io"), os.getuid())
"""
    for pod in platform.pods(JOB):
        assert platform.kubectl.exec_python(pod["metadata"]["name"], program).split() == ["False", "1000"]


def test_no_secret_is_in_an_object_an_event_a_log_or_a_command_line(
    platform: Platform, held: HeldJob, undisturbed: str
) -> None:
    """`undisturbed` and the dataset have finished: their logs and objects are searched, too."""
    assert {name.split("/")[0] for name in held.secrets} == set(NAMESPACES)
    places = readable_places(platform)
    assert JOB in places[f"objects of {NAMESPACE}"]
    assert "deepseek_workloads" in places["command lines"]
    assert leaks(held.secrets, places) == []
