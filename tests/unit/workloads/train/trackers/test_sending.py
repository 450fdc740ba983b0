"""A tracker's trouble is its own: no step waits for it, no run ends by it."""

import threading
from collections.abc import Callable, Sequence

from deepseek_workloads.train.trackers.interface import Point, Tracker
from deepseek_workloads.train.trackers.sending import TrackerThread

SECONDS = 20.0


class Server:
    """Fails `failures` times, each time that it is opened or told something."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures, self.points, self.ended = failures, [], []  # type: ignore[var-annotated]
        self.failed = threading.Event()

    def open(self) -> "Server":
        self._trouble()
        return self

    def log(self, points: Sequence[Point]) -> None:
        self._trouble()
        self.points += points

    def close(self, *, finished: bool) -> None:
        self.ended.append(finished)

    def _trouble(self) -> None:
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise ConnectionError("no route to host\nand much more")


def sending(open_tracker: Callable[[], Tracker]) -> TrackerThread:
    return TrackerThread("MLflow", open_tracker, batch_seconds=0.001, close_seconds=SECONDS)


def test_every_point_arrives_once_and_in_order() -> None:
    server = Server()
    thread = sending(server.open)
    for step in range(500):
        thread.add({"loss": float(step)}, step=step)
    thread.close(finished=True)
    assert [(point.step, dict(point.scalars)) for point in server.points] == [
        (step, {"loss": float(step)}) for step in range(500)
    ]
    assert (server.ended, thread.warning) == ([True], "")


def test_what_could_not_be_sent_is_sent_later() -> None:
    server = Server(failures=3)
    thread = sending(server.open)
    thread.add({"loss": 1.0}, step=1)
    assert server.failed.wait(SECONDS)
    thread.add({"loss": 2.0}, step=2)
    for _ in range(3):  # the end is the last try, so there must be one that goes well before it
        while server.failures:
            assert server.failed.wait(SECONDS)
    thread.close(finished=False)
    assert [point.step for point in server.points] == [1, 2]
    assert (server.ended, thread.warning) == ([False], "")


def test_a_server_that_is_away_leaves_a_warning_and_no_more() -> None:
    server = Server(failures=10**9)
    thread = sending(server.open)
    thread.add({"loss": 1.0}, step=1)
    assert server.failed.wait(SECONDS)
    thread.close(finished=True)
    assert thread.warning == "MLflow does not get this run's metrics: ConnectionError: no route to host"
    assert server.points == []


def test_a_server_that_hangs_does_not_hold_up_the_end() -> None:
    never = threading.Event()

    def hanging() -> Tracker:
        never.wait()
        raise AssertionError

    thread = TrackerThread("MLflow", hanging, batch_seconds=0.001, close_seconds=0.05)
    thread.add({"loss": 1.0}, step=1)
    thread.close(finished=True)
    never.set()


def test_numbers_that_no_curve_has_a_place_for_are_left_away() -> None:
    server = Server()
    thread = sending(server.open)
    thread.add({"loss": float("nan"), "norm": 2.0}, step=1)
    thread.add({"loss": float("inf")}, step=2)
    thread.close(finished=True)
    assert [dict(point.scalars) for point in server.points] == [{"norm": 2.0}]
