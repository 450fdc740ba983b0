"""Horovod's own rendezvous server, on a port of our choice; only this module knows Horovod's runner.

Ranks leave the addresses of their sockets there, as plain bytes. It has no authentication: a NetworkPolicy
must keep all but the run's own pods away.
"""

import threading
from collections.abc import Sequence
from typing import Any

from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from deepseek_workloads.launch.horovod_protocol import Slot


class Handler(RendezvousHandler):  # type: ignore[misc]
    """Without what it inherits from Python's file server: this pod's files are nobody's business."""

    def do_HEAD(self) -> None:
        self.send_error(501)


class Rendezvous:
    """Serves in a thread from `plan` on; one plan, one attempt."""

    def __init__(self, port: int) -> None:
        self._server: Any = RendezvousHTTPServer(("", port), Handler, False)
        self._thread = threading.Thread(target=self._server.serve_forever, name="rendezvous", daemon=True)

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    def plan(self, hosts: Sequence[str], *, ranks_per_host: int) -> list[Slot]:
        """The ranks of each host are neighbours, in the order of `hosts`."""
        slots = get_host_assignments(
            [HostInfo(host, ranks_per_host) for host in hosts], len(hosts) * ranks_per_host
        )
        self._server.init(slots)
        self._thread.start()
        return [Slot.model_validate(vars(slot)) for slot in slots]

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
