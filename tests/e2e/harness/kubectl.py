"""kubectl as a user runs it: text in, JSON out. It knows no kind of ours."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]


class KubectlError(AssertionError):
    def __init__(self, arguments: Sequence[str], stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)}: {stderr.strip()}")
        self.stderr = stderr


@dataclass(frozen=True)
class Kubectl:
    binary: Path
    kubeconfig: Path
    namespace: str = "default"

    def in_namespace(self, namespace: str) -> "Kubectl":
        return Kubectl(self.binary, self.kubeconfig, namespace)

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Standard output. Raises KubectlError with standard error."""
        command = [
            str(self.binary),
            "--kubeconfig",
            str(self.kubeconfig),
            "--namespace",
            self.namespace,
            *arguments,
        ]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode != 0:
            raise KubectlError(arguments, done.stderr)
        return done.stdout

    def apply(self, *objects: Mapping[str, Any], options: Iterable[str] = ()) -> str:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.run("apply", *options, "-f", "-", stdin=json.dumps(document))

    def warnings(self, document: Mapping[str, Any]) -> str:
        """What `kubectl apply --dry-run=server` writes to standard error."""
        command = [str(self.binary), "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]
        applied = subprocess.run(
            [*command, "apply", "--dry-run=server", "-f", "-"],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            check=True,
        )
        return applied.stderr

    def get(self, kind: str, name: str) -> Object | None:
        text = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def items(self, kind: str, *, selector: str = "") -> list[Object]:
        options = ["--selector", selector] if selector else []
        return list(json.loads(self.run("get", kind, *options, "-o", "json"))["items"])

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> str:
        return self.run("patch", kind, name, "--type=merge", "-p", json.dumps(change))

    def delete(self, kind: str, name: str, *options: str) -> str:
        return self.run("delete", kind, name, "--ignore-not-found", *options, timeout=180)

    def events(self, name: str) -> Sequence[Object]:
        """Events about the object of that name, oldest first."""
        items = json.loads(
            self.run("get", "events", "--field-selector", f"involvedObject.name={name}", "-o", "json")
        )["items"]
        return sorted(items, key=lambda event: event["metadata"]["creationTimestamp"])

    def logs(self, pod: str, *options: str) -> str:
        return self.run("logs", pod, *options)

    def exec_python(self, pod: str, program: str, *arguments: str) -> str:
        return self.run("exec", pod, "--", "python", "-c", program, *arguments)


def condition(resource: Object | None, kind: str) -> Object:
    """The condition of that type; an empty one where there is none yet."""
    for found in ((resource or {}).get("status") or {}).get("conditions", []):
        if found["type"] == kind:
            return dict(found)
    return {"type": kind, "status": "Unknown", "reason": "", "message": ""}


def is_finished(resource: Object | None) -> bool:
    return any(condition(resource, kind)["status"] == "True" for kind in ("Succeeded", "Failed"))


def conditions_in_words(resource: Object | None) -> str:
    listed = ((resource or {}).get("status") or {}).get("conditions", [])
    return (
        "; ".join(f"{c['type']}={c['status']} {c['reason']}: {c.get('message', '')}" for c in listed)
        or "none"
    )
