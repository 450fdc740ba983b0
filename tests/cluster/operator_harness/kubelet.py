"""What a kubelet would do, done by a test: a node that nobody else looks after, and the statuses of pods."""

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.kubectl import Kubectl, Object
from harness.waiting import wait_until

from deepseek_workloads.contract.messages import DriftVerdict, Verdict
from local_kubernetes.api import Api

_TAINT = "deepseek.dev/test"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
DEADLINE = 180.0  # seconds, for a machine that does other things too


class HandNode:
    """A node that KWOK does not look after: pods on it are what the test says they are.

    It only sends heartbeats, until it is silenced, which the control plane takes for the loss of the node.
    """

    def __init__(self, api: Api, name: str) -> None:
        self.name = name
        self._api = api
        self._silent = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def join(self) -> None:
        """Registers the node and waits until pods can be placed on it."""
        self._api.apply(f"/api/v1/nodes/{self.name}", self._document())
        self._api.apply(f"/api/v1/nodes/{self.name}/status", self._status())
        self._heart.start()
        wait_until(
            lambda: self._api.get(f"/api/v1/nodes/{self.name}")["spec"].get("taints", []),
            holds=lambda taints: len(taints) == 1,
            what=f"node {self.name} without any taint but its own",
            deadline_seconds=DEADLINE,
        )

    def silence(self) -> None:
        self._silent.set()
        self._heart.join()

    def leave(self) -> None:
        self.silence()
        self._api.request("DELETE", f"/api/v1/nodes/{self.name}")

    @property
    def placement(self) -> Object:
        """What pods say to be placed on this node."""
        toleration = {"key": _TAINT, "operator": "Equal", "value": self.name, "effect": "NoSchedule"}
        return {"nodeSelector": {"pool": self.name}, "tolerations": [toleration]}

    def _beat(self) -> None:
        while not self._silent.wait(1.0):
            self._api.apply(f"{_LEASES}/{self.name}", self._lease())

    def _lease(self) -> Object:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now}
        metadata = {"name": self.name, "namespace": "kube-node-lease"}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    def _document(self) -> Object:
        """Tainted, so that only pods which ask for it are placed on it."""
        taint = {"key": _TAINT, "value": self.name, "effect": "NoSchedule"}
        metadata = {"name": self.name, "labels": {"pool": self.name}}
        return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}}

    def _status(self) -> Object:
        ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "set by the test",
                 "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}  # fmt: skip
        offered = {"cpu": "32", "memory": "64Gi", "pods": "50"}
        status = {"conditions": [ready], "capacity": offered, "allocatable": offered}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}, "status": status}


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
        self,
        name: str,
        *,
        exit_code: int = 0,
        reason: str = "",
        verdict: Verdict | DriftVerdict | None = None,
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
