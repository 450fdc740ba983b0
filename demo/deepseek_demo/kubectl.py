"""Objects of a cluster through kubectl: applied, read and waited for as dictionaries.

It knows kubectl's command line and no particular kind of object.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_demo.commands import StepFailed, output, run

Object = dict[str, Any]
_MANAGER = "deepseek-demo"


@dataclass(frozen=True)
class Kubectl:
    """`command` starts kubectl against one cluster; what apply says goes to `log`."""

    command: tuple[str, ...]
    log: Path

    def apply(self, objects: Iterable[Object]) -> None:
        """Server-side apply, in order, as one list. Raises StepFailed with what the API server refused."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        how = ["--server-side", "--force-conflicts", f"--field-manager={_MANAGER}", "--filename", "-"]
        run([*self.command, "apply", *how], log=self.log, stdin=manifest)

    def run(self, *arguments: str) -> None:
        """Any command; its output goes to the log."""
        run([*self.command, *arguments], log=self.log)

    def text(self, *arguments: str) -> str:
        """Any command; its output is the answer."""
        return output([*self.command, *arguments])

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Object | None:
        """The object, or None where there is none of that name."""
        scope = [] if namespace is None else ["--namespace", namespace]
        found = self.text("get", kind, name, *scope, "--ignore-not-found", "--output", "json")
        return json.loads(found) if found.strip() else None

    def list(self, kind: str, *, namespace: str, selector: str = "") -> list[Object]:
        """Objects of a kind in a namespace."""
        found = self.text("get", kind, "--namespace", namespace, "--selector", selector, "--output", "json")
        items: list[Object] = json.loads(found)["items"]
        return items

    def wait_for(
        self,
        is_done: Callable[[], bool],
        *,
        what: str,
        seconds: float,
        look_at: str = "",
        interval: float = 0.5,
    ) -> None:
        """Ask until the answer is yes. Raises StepFailed naming what was waited for and where to look."""
        deadline = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > deadline:
                hint = f"; look at: {look_at}" if look_at else ""
                raise StepFailed(f"waited {seconds:.0f} s for {what}{hint}", log=self.log)
            time.sleep(interval)

    @contextmanager
    def forwarded(self, target: str, port: int, *, namespace: str) -> Iterator[str]:
        """host:port on this machine that leads to `port` of `target` (service/NAME, ...) while it lasts."""
        arguments = ["port-forward", "--namespace", namespace, target, f":{port}"]
        process = subprocess.Popen(
            [*self.command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 7070
            if not line:
                raise StepFailed(f"kubectl port-forward to {target} failed: {process.stderr.read().strip()}")
            yield line.split()[2]
        finally:
            process.terminate()
            process.wait()
