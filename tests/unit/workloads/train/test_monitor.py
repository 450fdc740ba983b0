"""The channel against a real HTTP server."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from deepseek_workloads.contract.messages import Control, Failure, Progress, Report
from deepseek_workloads.train.monitor import ReportClient

SECONDS = 20
NEVER = 3600.0


@dataclass
class Coordinator:
    port: int = 0
    control: Control = field(default_factory=Control)
    reports: list[Report] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    state = Coordinator()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.reports.append(Report.model_validate_json(body))
            state.tokens.append(self.headers["Authorization"])
            answer = state.control.to_json()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def connect(coordinator: Coordinator) -> Iterator[Callable[..., ReportClient]]:
    clients: list[ReportClient] = []

    def make(*, interval_seconds: float = 0.01, rank: int = 0) -> ReportClient:
        client = ReportClient(
            host="127.0.0.1",
            port=coordinator.port,
            token="t0ken",
            rank=rank,
            pod="worker-0",
            interval_seconds=interval_seconds,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


Connect = Callable[..., ReportClient]


def test_a_rank_says_who_and_where_it_is(coordinator: Coordinator, connect: Connect) -> None:
    connect(rank=3).heartbeat(41)
    until(lambda: any(report.step == 41 for report in coordinator.reports))
    assert (coordinator.reports[-1].rank, coordinator.reports[-1].pod) == (3, "worker-0")
    assert set(coordinator.tokens) == {"Bearer t0ken"}


def test_the_newest_progress_is_sent(coordinator: Coordinator, connect: Connect) -> None:
    client = connect()
    for step in range(1, 50):
        client.publish(Progress(phase="Training", step=step))
    until(lambda: any(r.progress is not None and r.progress.step == 49 for r in coordinator.reports))


def test_a_new_phase_does_not_wait_for_the_interval(coordinator: Coordinator, connect: Connect) -> None:
    client = connect(interval_seconds=NEVER)
    client.publish(Progress(phase="Training", step=1))
    client.publish(Progress(phase="Exporting", step=1))
    until(
        lambda: any(r.progress is not None and r.progress.phase == "Exporting" for r in coordinator.reports)
    )


def test_the_desired_state_comes_back_and_is_acknowledged(coordinator: Coordinator, connect: Connect) -> None:
    client = connect()
    coordinator.control = Control(generation=7, desired_state="Stopped")
    until(lambda: client.control.desired_state == "Stopped")
    until(lambda: coordinator.reports[-1].control_generation == 7)


def test_the_last_progress_is_sent_before_the_end(coordinator: Coordinator, connect: Connect) -> None:
    client = connect(interval_seconds=NEVER)
    client.publish(Progress(phase="Training", step=1))
    until(lambda: any(report.progress is not None for report in coordinator.reports))
    client.publish(Progress(phase="Training", step=2))
    client.close()
    assert coordinator.reports[-1].progress == Progress(phase="Training", step=2)


def test_a_failure_is_sent_at_once(coordinator: Coordinator, connect: Connect) -> None:
    failure = Failure(kind="lost", reason="NodeLost")
    assert connect(interval_seconds=NEVER).report_failure(failure)
    assert failure in [report.failure for report in coordinator.reports]


@pytest.mark.parametrize("status", [401, 500])
def test_a_coordinator_that_refuses_changes_nothing(
    coordinator: Coordinator, connect: Connect, status: int
) -> None:
    coordinator.status = status
    coordinator.control = Control(generation=9, desired_state="Stopped")
    client = connect()
    until(lambda: len(coordinator.reports) >= 3)
    assert client.control == Control()


def test_a_coordinator_that_is_gone_is_asked_again(connect: Connect, coordinator: Coordinator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # hangs up on everybody
        port, coordinator.port = coordinator.port, deaf.getsockname()[1]
        client = connect()
        for _ in range(3):
            deaf.accept()[0].close()
    client._port = port
    until(lambda: len(coordinator.reports) > 1)


def test_stacks_are_dumped_once_for_each_request(
    coordinator: Coordinator, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    client = connect()
    until(lambda: client._stacks_dumped is not None)
    coordinator.control = Control(generation=1, dump_stacks_request=1)
    until(lambda: client.control.generation == 1)
    seen = len(coordinator.reports)
    until(lambda: len(coordinator.reports) > seen + 2)
    out, err = capfd.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["stacks"]
    assert "test_monitor.py" in err
