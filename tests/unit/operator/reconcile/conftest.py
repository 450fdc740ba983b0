"""An API server in memory, coordinators that answer from a table, and a clock that tests turn."""

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deepseek_operator.cluster.interface import AlreadyExists, Conflict, Document, PushAnswer, Unavailable
from deepseek_operator.cluster.kinds import DATASET, POD, TRAINING_JOB, Kind
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.dependencies import Dependencies
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.plan import Intervals
from deepseek_operator.reconcile.reconcilers import build_reconcilers
from deepseek_operator.reconcile.resync import Resync
from deepseek_operator.resources.settings import BuildSettings
from deepseek_operator.status.size import Patience
from deepseek_workloads.contract.messages import Control, Progress, Verdict

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def stamp(self, *, after: float = 0) -> str:
        return (self.time + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _copy(document: Any) -> Any:
    return json.loads(json.dumps(document))  # several times faster than copy.deepcopy


class FakeCluster:
    """Objects by (kind, namespace, name). A deleted pod is Terminating until `kubelet` lets it go."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str, str], Document] = {}
        self.writes: list[str] = []  # "create Pod dsjob-a-worker-0-1", ...
        self.write_calls: list[int] = []  # the numbers of the calls that wrote
        self.calls = 0
        self.fail_at: int | None = None  # the call of this number is not made
        self.lose_answer_at: int | None = None  # the call of this number is made, its answer lost
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    # The protocol.
    async def get(self, kind: Kind, *, name: str, namespace: str = "") -> Document | None:
        with self._call():
            return _copy(self.objects.get((kind.kind, namespace, name)))

    async def list_(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> list[Document]:
        with self._call():
            return [
                _copy(document)
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
            self._wrote(f"create {kind.kind} {key[2]}")
            return self._store(key, document)

    async def apply(self, kind: Kind, document: Document) -> Document:
        with self._call():
            key = self._key(kind, document)
            self._wrote(f"apply {kind.kind} {key[2]}")
            if key not in self.objects:
                return self._store(key, document)
            merged = self.objects[key] | {
                k: v for k, v in document.items() if k not in ("metadata", "status")
            }
            merged["metadata"]["resourceVersion"] = str(next(self._versions))
            self.objects[key] = merged
            return _copy(merged)

    async def delete(
        self, kind: Kind, *, name: str, namespace: str, uid: str, grace_seconds: int | None = None
    ) -> bool:
        with self._call():
            document = self.objects.get((kind.kind, namespace, name))
            if document is None or document["metadata"]["uid"] != uid:
                return False
            self._wrote(f"delete {kind.kind} {name}")
            finished = document.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if kind != POD or finished or not document.get("spec", {}).get("nodeName"):
                del self.objects[(kind.kind, namespace, name)]
            else:
                grace = document["spec"].get("terminationGracePeriodSeconds", 30)
                document["metadata"].setdefault("deletionTimestamp", self.clock.stamp(after=grace))
            return True

    async def replace_status(self, kind: Kind, document: Document) -> Document:
        with self._call():
            key = self._key(kind, document)
            current = self.objects.get(key)
            if current is None or (
                document["metadata"].get("resourceVersion") != current["metadata"]["resourceVersion"]
            ):
                raise Conflict(f"{kind.kind} {key[2]} changed")
            self._wrote(f"status {kind.kind} {key[2]}")
            current["status"] = _copy(document["status"])
            current["metadata"]["resourceVersion"] = str(next(self._versions))
            return _copy(current)

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

    def collect_garbage(self) -> None:
        """What Kubernetes' own controller does: an object none of whose owners is left goes."""
        while True:
            uids = {each["metadata"]["uid"] for each in self.objects.values()}
            orphans = [
                key
                for key, each in self.objects.items()
                if (owners := each["metadata"].get("ownerReferences"))
                and not any(owner["uid"] in uids for owner in owners)
            ]
            if not orphans:
                return
            for key in orphans:
                del self.objects[key]

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

    def _wrote(self, what: str) -> None:
        self.writes.append(what)
        self.write_calls.append(self.calls)

    def _key(self, kind: Kind, document: Document) -> tuple[str, str, str]:
        metadata = document["metadata"]
        return kind.kind, metadata.get("namespace", ""), metadata["name"]

    def _store(self, key: tuple[str, str, str], document: Document) -> Document:
        stored = _copy(document)
        metadata = stored["metadata"]
        metadata["uid"] = f"00000000-0000-0000-0000-{next(self._uids):012d}"
        metadata["resourceVersion"] = str(next(self._versions))
        metadata["generation"] = 1
        metadata["creationTimestamp"] = self.clock.stamp()
        self.objects[key] = stored
        return _copy(stored)

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
        self.refuse = False  # its token is another one
        self.obey = True  # a pushed control is seen by all ranks at once

    async def progress(self, pod_ip: str) -> Progress | None:
        return self.answers.get(pod_ip)

    async def push(self, pod_ip: str, *, control: Control, token: str) -> PushAnswer:
        if pod_ip not in self.answers:
            return PushAnswer.UNREACHABLE
        if self.refuse:
            return PushAnswer.REFUSED
        self.pushed.append((pod_ip, control, token))
        if self.obey:
            seen = {"control_generation": control.generation, "desired_state": control.desired_state}
            self.answers[pod_ip] = self.answers[pod_ip].model_copy(update=seen)
        return PushAnswer.TAKEN


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cluster(clock: FakeClock) -> FakeCluster:
    return FakeCluster(clock)


@pytest.fixture
def coordinators() -> FakeCoordinators:
    return FakeCoordinators()


DATASET_DOCUMENT: Document = {
    "apiVersion": "deepseek.dev/v1alpha1",
    "kind": "DeepSeekDataset",
    "metadata": {"name": "docs", "namespace": "research"},
    "spec": {
        "sources": [{"name": "raw", "uri": "s3://bucket/raw", "format": "jsonl"}],
        "tokenizer": {"train": {"vocabSize": 8192}},
        "workers": {"numNodes": 2},
        "storage": {
            "uri": "s3://bucket/docs",
            "endpointUrl": "http://s3:7070",
            "secretRef": {"name": "s3-credentials"},
        },
    },
}

JOB_DOCUMENT: Document = {
    "apiVersion": "deepseek.dev/v1alpha1",
    "kind": "DeepSeekTrainingJob",
    "metadata": {"name": "tiny", "namespace": "research"},
    "spec": {
        "model": {"preset": "deepseek-v3-tiny"},
        "data": {
            "sources": [{"name": "docs", "uri": "s3://bucket/docs", "digest": "sha256:" + "a" * 64}],
            "sequenceLength": 128,
        },
        "training": {"globalBatchSize": 8, "steps": 20},
        "workers": {"numNodes": 2, "resources": {"cpu": "1", "memory": "3Gi"}},
        "storage": {
            "uri": "s3://bucket/tiny",
            "endpointUrl": "http://s3:7070",
            "secretRef": {"name": "s3-credentials"},
        },
        "runPolicy": {"backoffLimit": 1, "startupDeadlineSeconds": 60},
    },
}


class World:
    """The operator's reconcile functions over the fakes; each call is a process that remembers nothing."""

    def __init__(self, cluster: FakeCluster, coordinators: FakeCoordinators, clock: FakeClock) -> None:
        self.cluster, self.coordinators, self.clock = cluster, coordinators, clock
        self.dependencies = Dependencies()
        self.resync = Resync(seconds=30)
        self.operator_since = clock.now()

    def add_job(self, **spec: Any) -> None:
        self.cluster.add(TRAINING_JOB, {**JOB_DOCUMENT, "spec": {**JOB_DOCUMENT["spec"], **spec}})

    def add_dataset(self, **spec: Any) -> None:
        self.cluster.add(DATASET, {**DATASET_DOCUMENT, "spec": {**DATASET_DOCUMENT["spec"], **spec}})

    async def reconcile(self, kind: Kind = TRAINING_JOB, name: str = "tiny") -> float | None:
        context = Context(
            cluster=self.cluster,
            coordinators=self.coordinators,
            clock=self.clock,
            dependencies=self.dependencies,
            build=BuildSettings(worker_image="registry/worker:1"),
            operator_key=b"k" * 64,
            operator_name="operator-1",
            operator_since=self.operator_since,
            intervals=Intervals(),
            resync=self.resync,
            patience=Patience(),
        )
        return await build_reconcilers(context)[kind](Key(kind, "research", name))

    async def settle(self, kind: Kind = TRAINING_JOB, name: str = "tiny") -> float | None:
        """Passes until one has no effect; its answer."""
        for _ in range(20):
            before = self.effects()
            after = await self.reconcile(kind, name)
            if self.effects() == before:
                return after
        raise AssertionError(f"the operator goes on writing: {self.cluster.writes[-10:]}")

    def effects(self) -> int:
        """What the operator has done so far to the cluster and to coordinators, counted."""
        return len(self.cluster.writes) + len(self.coordinators.pushed)

    async def start(
        self, kind: Kind = TRAINING_JOB, name: str = "tiny", *, prefix: str = "dsjob-tiny"
    ) -> None:
        """Until the coordinator and both workers run and progress is being made."""
        await self.settle(kind, name)
        self.cluster.start_pod(f"{prefix}-coordinator-1", ip="10.0.0.1")
        await self.settle(kind, name)
        for index in range(2):
            self.cluster.start_pod(f"{prefix}-worker-{index}-1", node=f"node-{index + 2}")
        phase = "Training" if kind == TRAINING_JOB else "Preparing"
        self.coordinators.answers["10.0.0.1"] = Progress(
            phase=phase, epoch=1, step=5, total_steps=20, loss=7.5
        )
        await self.settle(kind, name)

    def new_leader(self) -> None:
        """Another operator takes over now."""
        self.dependencies, self.resync = Dependencies(), Resync(seconds=30)
        self.operator_since = self.clock.now()

    def status(self, kind: Kind = TRAINING_JOB, name: str = "tiny") -> dict[str, Any]:
        return self.cluster.status(kind, name)

    def condition(self, type_: str, kind: Kind = TRAINING_JOB, name: str = "tiny") -> tuple[str, str]:
        """(status, reason)."""
        condition = self.cluster.condition(kind, name, type_)
        return condition.get("status", ""), condition.get("reason", "")


@pytest.fixture
def world(cluster: FakeCluster, coordinators: FakeCoordinators, clock: FakeClock) -> World:
    return World(cluster, coordinators, clock)


@pytest.fixture
def new_world() -> Callable[[], World]:
    """For tests that live a life many times."""

    def build() -> World:
        clock = FakeClock()
        return World(FakeCluster(clock), FakeCoordinators(), clock)

    return build
