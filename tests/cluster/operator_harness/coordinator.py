"""A run's coordinator as the operator meets it: real HTTP on the contract's port, at a local address."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deepseek_workloads.contract.environment import COORDINATOR_PORT
from deepseek_workloads.contract.messages import Control, Progress


class Coordinator:
    """`progress` is what it answers; `controls` what was pushed to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.progress = Progress(phase="Training", epoch=1, step=5, total_steps=20, loss=7.5)
        self.controls: list[tuple[str, Control]] = []  # (Authorization, what was pushed)
        self._server = ThreadingHTTPServer((address, COORDINATOR_PORT), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        coordinator = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(coordinator.progress.to_json())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                control = Control.model_validate_json(body)
                coordinator.controls.append((self.headers["Authorization"], control))
                seen = {
                    "control_generation": control.generation,
                    "desired_state": control.desired_state,
                }
                coordinator.progress = coordinator.progress.model_copy(update=seen)
                self._answer(b"{}")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
