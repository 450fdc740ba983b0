"""The channel from a rank (or the driver) to its coordinator: progress goes out, the desired state comes in.

A background thread posts the newest `Report` about once a second and keeps the `Control` of the answer.
Nothing here can fail a run: a coordinator that does not answer is asked again. It does not know what is
trained, nor what a control asks the loop to do.
"""

import faulthandler
import http.client
import json
import threading
from typing import Protocol

import pydantic

from deepseek_workloads.contract.messages import Control, Failure, Progress, Report

INTERVAL_SECONDS = 1.0
REQUEST_TIMEOUT_SECONDS = 5.0
DRIVER_RANK = -1
STDERR_FILENO = 2


class Monitor(Protocol):
    """What the loop sees of its surroundings. Every method returns at once."""

    @property
    def control(self) -> Control:
        """The newest desired state that is known here."""
        ...

    def heartbeat(self, step: int) -> None:
        """Called by every rank once a step."""
        ...

    def publish(self, progress: Progress) -> None:
        """What rank 0 wants shown; the newest wins. Sent with the next post, at once if the phase changed."""
        ...

    def close(self) -> None:
        """Posts what is pending, then ends the channel."""
        ...


class LocalMonitor:
    """Without a coordinator: keeps what was published; `control` is set by whoever runs the loop."""

    def __init__(self, control: Control | None = None) -> None:
        self.control = control or Control()
        self.step = 0
        self.published: list[Progress] = []

    def heartbeat(self, step: int) -> None:
        self.step = step

    def publish(self, progress: Progress) -> None:
        self.published.append(progress)

    def close(self) -> None:
        pass


class ReportClient:
    """Posts to the coordinator's `/report`. Thread-safe; made in the process that uses it (not picklable)."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        token: str,
        rank: int,
        pod: str = "",
        attempt: int = 0,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._host, self._port, self._token = host, port, token
        self._rank, self._pod, self._attempt = rank, pod, attempt
        self._interval_seconds = interval_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()  # of the fields below
        self._posting = threading.Lock()  # one request at a time
        self._control = Control()
        self._step = 0
        self._progress: Progress | None = None
        self._stacks_dumped: int | None = None
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._post_until_closed, name="report-client", daemon=True)
        self._thread.start()

    @property
    def control(self) -> Control:
        with self._lock:
            return self._control

    def heartbeat(self, step: int) -> None:
        with self._lock:
            self._step = step

    def publish(self, progress: Progress) -> None:
        with self._lock:
            urgent = self._progress is None or self._progress.phase != progress.phase
            self._progress = progress
            self._step = max(self._step, progress.step)
        if urgent:
            self._wake.set()

    def report_failure(self, failure: Failure) -> bool:
        """Posts at once. False: the coordinator did not answer."""
        return self._post(self._report().model_copy(update={"failure": failure}))

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        self._thread.join(timeout=2 * REQUEST_TIMEOUT_SECONDS)
        with self._posting:
            self._disconnect()

    def _post_until_closed(self) -> None:
        while not self._closed.is_set():
            self._post(self._report())
            self._wake.wait(self._interval_seconds)
            self._wake.clear()
        self._post(self._report())

    def _report(self) -> Report:
        with self._lock:
            return Report(
                rank=self._rank,
                pod=self._pod,
                attempt=self._attempt,
                step=self._step,
                control_generation=self._control.generation,
                progress=self._progress,
            )

    def _post(self, report: Report) -> bool:
        with self._posting:
            try:
                answer = self._request(report.to_json())
                control = Control.model_validate_json(answer)
            except (OSError, http.client.HTTPException, pydantic.ValidationError, ValueError):
                self._disconnect()
                return False
        self._take(control)
        return True

    def _request(self, body: bytes) -> bytes:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=REQUEST_TIMEOUT_SECONDS
            )
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request("POST", "/report", body=body, headers=headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"POST /report: {response.status} {response.reason}")
        return answer

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _take(self, control: Control) -> None:
        with self._lock:
            self._control = control
            dump = self._stacks_dumped is not None and control.dump_stacks_request > self._stacks_dumped
            self._stacks_dumped = control.dump_stacks_request
        if dump:
            print(json.dumps({"event": "stacks", "rank": self._rank}), flush=True)
            faulthandler.dump_traceback(file=STDERR_FILENO, all_threads=True)
