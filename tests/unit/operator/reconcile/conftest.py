"""An API server in memory, coordinators that answer from a table, and a clock that tests turn."""

import copy
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deepseek_operator.cluster.interface import AlreadyExists, Conflict, Document, Unavailable
from deepseek_operator.cluster.kinds import POD, Kind
from deepseek_workloads.contract.messages import Control, Progress, Verdict

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def stamp(self) -> str:
        return self.time.strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster:
    """Objects by (kind, namespace, name). A deleted pod is Terminating until `kubelet` lets it go."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str, str], Document] = {}
        self.writes: list[str] = []  # "create Pod dsjob-a-worker-0-1", ...
        self.calls = 0
        self.fail_at: int | None = None  # the call of this number is not made
        self.lose_answer_at: int | None = None  # the call of this number is made, its answer lost
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    # The protocol.
    async def get(self, kind: Kind, *, name: str, namespace: str = "") -> Document | None:
        with self._call():
            return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def list_(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> list[Document]:
        with self._call():
            return [
                copy.deepcopy(document)
                for (kind_name, where, _), document in sorted(self.objects.items())
                if kind_name == kind.kind
                and namespace in ("", where)
                and (labels or {}).items() <= document["metadata"].get("labels", {}).items()
            ]

    async def list_metadata(self, kind: Kind, *, namespace: str = "") -> list[Document]:
        return [{"metadata": each["metadata"]} for each in await self.list_(kind, namespace=namespace)]

    async def create(self, kind: Kind, document: Document) -> Document:
        with self._call():
            key = self._key(kind, document)
            if key in self.objects:
                raise AlreadyExists(f"{kind.kind} {key[2]} exists")
            self.writes.append(f"create {kind.kind} {key[2]}")
            return self._store(key, document)

    async def apply(self, kind: Kind, document: Document) -> Document:
        with self._call():
            key = self._key(kind, document)
            self.writes.append(f"apply {kind.kind} {key[2]}")
            if key not in self.objects:
                return self._store(key, document)
            merged = self.objects[key] | {
                k: v for k, v in document.items() if k not in ("metadata", "status")
            }
            merged["metadata"]["resourceVersion"] = str(next(self._versions))
            self.objects[key] = merged
            return copy.deepcopy(merged)

    async def delete(
        self, kind: Kind, *, name: str, namespace: str, uid: str, grace_seconds: int | None = None
    ) -> bool:
        with self._call():
            document = self.objects.get((kind.kind, namespace, name))
            if document is None or document["metadata"]["uid"] != uid:
                return False
            self.writes.append(f"delete {kind.kind} {name}")
            finished = document.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if kind != POD or finished or not document.get("spec", {}).get("nodeName"):
                del self.objects[(kind.kind, namespace, name)]
            else:
                document["metadata"].setdefault("deletionTimestamp", self.clock.stamp())
            return True

    async def replace_status(self, kind: Kind, document: Document) -> Document:
        with self._call():
            key = self._key(kind, document)
            current = self.objects.get(key)
            if current is None or (
                document["metadata"].get("resourceVersion") != current["metadata"]["resourceVersion"]
            ):
                raise Conflict(f"{kind.kind} {key[2]} changed")
            self.writes.append(f"status {kind.kind} {key[2]}")
            current["status"] = copy.deepcopy(document["status"])
            current["metadata"]["resourceVersion"] = str(next(self._versions))
            return copy.deepcopy(current)

    # What users and the rest of the cluster do.
    def add(self, kind: Kind, document: Document) -> Document:
        return self._store(self._key(kind, document), document)

    def edit_spec(self, kind: Kind, name: str, **changes: Any) -> None:
        document = self.objects[(kind.kind, "research", name)]
        document["spec"] |= changes
        document["metadata"]["generation"] += 1
        document["metadata"]["resourceVersion"] = str(next(self._versions))

    def pods(self) -> list[str]:
        return sorted(name for kind, _, name in self.objects if kind == "Pod")

    def active_pods(self) -> list[str]:
        """Pods that are neither finished nor Terminating."""
        return [
            name
            for name in self.pods()
            if "deletionTimestamp" not in self.pod(name)["metadata"]
            and self.pod(name).get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def pod(self, name: str) -> Document:
        return self.objects[("Pod", "research", name)]

    def start_pod(self, name: str, *, node: str = "node-1", ready: bool = True, ip: str = "10.0.0.9") -> None:
        """The scheduler placed it, the kubelet started it."""
        pod, now = self.pod(name), self.clock.stamp()
        pod["spec"]["nodeName"] = node
        ready_text = "True" if ready else "False"
        pod["status"] = {
            "phase": "Running",
            "podIP": ip,
            "startTime": now,
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
                {"type": "Ready", "status": ready_text, "lastTransitionTime": now},
            ],
            "containerStatuses": [
                {
                    "name": "main",
                    "ready": ready,
                    "restartCount": 0,
                    "image": "",
                    "imageID": "",
                    "state": {"running": {"startedAt": now}},
                }
            ],
        }

    def wait_pod(self, name: str, *, reason: str, message: str) -> None:
        """Placed on a node, but its container cannot start."""
        self.start_pod(name, ready=False)
        status = self.pod(name)["status"]
        status["phase"] = "Pending"
        status["containerStatuses"][0]["state"] = {"waiting": {"reason": reason, "message": message}}

    def unschedulable_pod(self, name: str, message: str) -> None:
        now = self.clock.stamp()
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": now,
        }
        self.pod(name)["status"] = {"phase": "Pending", "conditions": [condition]}

    def finish_pod(
        self, name: str, *, exit_code: int = 0, reason: str = "", verdict: Verdict | None = None
    ) -> None:
        """Its container ended."""
        pod, now = self.pod(name), self.clock.stamp()
        status = pod.setdefault("status", {})
        status["phase"] = "Failed" if exit_code else "Succeeded"
        status["conditions"] = [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "Ready", "status": "False", "lastTransitionTime": now},
        ]
        terminated = {
            "exitCode": exit_code,
            "reason": reason or ("Error" if exit_code else "Completed"),
            "startedAt": now,
            "finishedAt": now,
        }
        if verdict is not None:
            terminated["message"] = verdict.to_termination_message().decode()
        status["containerStatuses"] = [
            {"name": "main", "ready": False, "restartCount": 0, "image": "", "imageID": "",
             "state": {"terminated": terminated}}
        ]  # fmt: skip

    def remove_pod(self, name: str) -> None:
        """It is gone: its grace period is over, or its node was removed."""
        del self.objects[("Pod", "research", name)]

    def let_go_terminating(self) -> None:
        for name in self.pods():
            if "deletionTimestamp" in self.pod(name)["metadata"]:
                self.remove_pod(name)

    def status(self, kind: Kind, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.objects[(kind.kind, "research", name)].get("status", {})
        return status

    def condition(self, kind: Kind, name: str, type_: str) -> dict[str, Any]:
        conditions = self.status(kind, name).get("conditions", [])
        return next((each for each in conditions if each["type"] == type_), {})

    def events(self) -> list[tuple[str, str]]:
        """(reason, note), in the order of their creation."""
        events = [each for key, each in self.objects.items() if key[0] == "Event"]
        return [(each["reason"], each["note"]) for each in events]

    def _key(self, kind: Kind, document: Document) -> tuple[str, str, str]:
        metadata = document["metadata"]
        return kind.kind, metadata.get("namespace", ""), metadata["name"]

    def _store(self, key: tuple[str, str, str], document: Document) -> Document:
        stored = copy.deepcopy(document)
        metadata = stored["metadata"]
        metadata["uid"] = f"00000000-0000-0000-0000-{next(self._uids):012d}"
        metadata["resourceVersion"] = str(next(self._versions))
        metadata["generation"] = 1
        metadata["creationTimestamp"] = self.clock.stamp()
        self.objects[key] = stored
        return copy.deepcopy(stored)

    def _call(self) -> "_Call":
        return _Call(self)


class _Call:
    """Counts a call, and fails it before or after its effect where the test wants that."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster

    def __enter__(self) -> None:
        self.cluster.calls += 1
        if self.cluster.calls == self.cluster.fail_at:
            raise Unavailable("the test cut the connection before the request")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.cluster.calls == self.cluster.lose_answer_at:
            raise Unavailable("the test cut the connection before the answer")


class FakeCoordinators:
    """`answers`: progress by pod IP; `pushed`: every control taken."""

    def __init__(self) -> None:
        self.answers: dict[str, Progress] = {}
        self.pushed: list[tuple[str, Control, str]] = []
        self.obey = True  # a pushed control is seen by all ranks at once

    async def progress(self, pod_ip: str) -> Progress | None:
        return self.answers.get(pod_ip)

    async def push(self, pod_ip: str, *, control: Control, token: str) -> bool:
        if pod_ip not in self.answers:
            return False
        self.pushed.append((pod_ip, control, token))
        if self.obey:
            seen = {"control_generation": control.generation}
            self.answers[pod_ip] = self.answers[pod_ip].model_copy(update=seen)
        return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cluster(clock: FakeClock) -> FakeCluster:
    return FakeCluster(clock)


@pytest.fixture
def coordinators() -> FakeCoordinators:
    return FakeCoordinators()
