"""What a kubelet would do, done by a test: a node that nobody else looks after, and the statuses of pods."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.kubectl import Kubectl, Object
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import Verdict

DEADLINE = 180.0  # seconds, for a machine that does other things too


@dataclass(frozen=True)
class HandNode:
    """A node that no kubelet and no KWOK looks after: pods on it are what the test says they are."""

    admin: Kubectl
    name: str
    labels: Mapping[str, str]

    def set_ready(self, status: str) -> None:
        now = _now()
        condition = {"type": "Ready", "status": status, "reason": "Test", "message": "set by the test",
                     "lastHeartbeatTime": now, "lastTransitionTime": now}  # fmt: skip
        offered = {"cpu": "32", "memory": "64Gi", "pods": "50"}
        change = {"status": {"conditions": [condition], "capacity": offered, "allocatable": offered}}
        self.admin.run(
            "patch", "node", self.name, "--subresource=status", "--type=strategic", "-p", json.dumps(change)
        )


@dataclass(frozen=True)
class Pods:
    """What a kubelet would report of pods, written by the test."""

    kubectl: Kubectl

    def names(self) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.kubectl.items("pods"))

    def active(self) -> list[str]:
        """Neither finished nor being deleted."""
        return sorted(
            pod["metadata"]["name"]
            for pod in self.kubectl.items("pods")
            if "deletionTimestamp" not in pod["metadata"]
            and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        )

    def wait_for(self, *names: str) -> None:
        wait_until(
            self.active,
            holds=lambda active: active == sorted(names),
            what=f"active pods {names}",
            deadline_seconds=DEADLINE,
        )

    def finish(
        self, name: str, *, exit_code: int = 0, reason: str = "", verdict: Verdict | None = None
    ) -> None:
        terminated: Object = {
            "exitCode": exit_code,
            "reason": reason or ("Error" if exit_code else "Completed"),
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        if verdict is not None:
            terminated["message"] = verdict.to_termination_message().decode()
        self.report(name, phase="Failed" if exit_code else "Succeeded", state={"terminated": terminated})

    def wait_in(self, name: str, *, reason: str, message: str) -> None:
        state = {"waiting": {"reason": reason, "message": message}}
        self.report(name, phase="Pending", state=state)

    def run(self, name: str, *, ready: bool = True, ip: str = "") -> None:
        self.report(name, phase="Running", state={"running": {"startedAt": _now()}}, ready=ready, ip=ip)

    def report(self, name: str, *, phase: str, state: Object, ready: bool = False, ip: str = "") -> None:
        pod = self.kubectl.get("pod", name)
        assert pod is not None, f"no pod {name}"
        container = pod["spec"]["containers"][0]
        status: Object = {
            "phase": phase,
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": _now()}
            ],
            "containerStatuses": [
                {"name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
                 "restartCount": 0, "state": state}
            ],
        }  # fmt: skip
        if ip:
            status |= {"podIP": ip, "podIPs": [{"ip": ip}, {"$patch": "replace"}]}
        self.kubectl.run(
            "patch", "pod", name, "--subresource=status", "--type=strategic", "-p",
            json.dumps({"status": status}),
        )  # fmt: skip

    def let_go(self, name: str) -> None:
        self.kubectl.delete("pod", name, "--force", "--grace-period=0")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
