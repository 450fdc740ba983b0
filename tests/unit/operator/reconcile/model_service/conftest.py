"""A service in the world of the fakes: its revisions, its clusters by revision, the controllers around it."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from deepseek_operator.cluster.kinds import MODEL_REVISION, MODEL_SERVICE
from deepseek_workloads.contract.messages import Progress, ServingProgress, Verdict
from deepseek_workloads.contract.run_config import ServingRun, parse_run

NAMESPACE = "research"


class Serving:
    """`chat`, as a user, the kubelets and Kubernetes' own controllers treat it."""

    def __init__(self, world: Any) -> None:
        self.world, self.cluster, self.clock = world, world.cluster, world.clock
        self.ips = 0

    # What users do.
    def add_revision(self, name: str, *, model: str = "tiny", **spec: Any) -> None:
        digest = "sha256:" + name[-1].encode().hex()[-1] * 64
        base = {
            "storageUri": f"s3://models/{model}/exports/{name}",
            "storageLocation": {"endpointUrl": "http://s3:7070"},
            "secretRef": {"name": "s3-credentials"},
            "digest": digest,
            "modelName": model,
        }
        self.cluster.add(MODEL_REVISION, self._document("DeepSeekModelRevision", name, base | spec))

    def add_service(self, **spec: Any) -> None:
        base = {"model": {"modelName": "tiny"}, "replicas": {"min": 2, "max": 2}}
        self.cluster.add(MODEL_SERVICE, self._document("DeepSeekModelService", "chat", base | spec))

    def edit(self, **spec: Any) -> None:
        self.cluster.edit_spec(MODEL_SERVICE, "chat", **spec)

    # What the rest of the cluster does.
    def start(self, *pods: str, ready: bool = True) -> None:
        for pod in pods:
            self.ips += 1
            self.cluster.start_pod(pod, node=f"node-{self.ips}", ready=ready, ip=f"10.0.0.{self.ips}")

    def say(self, revision: str, *, checked: bool, bits_per_byte: float | None = 2.0) -> None:
        """What the coordinator of this revision's cluster answers from now on."""
        (coordinator,) = [pod for pod in self.pods(revision) if "coordinator" in pod]
        serving = ServingProgress(checked=checked, bits_per_byte=bits_per_byte, replicas=2, ready_replicas=2)
        ip = self.cluster.pod(coordinator)["status"]["podIP"]
        phase = "Serving" if checked else "Checking"
        self.world.coordinators.answers[ip] = Progress(phase=phase, serving=serving)

    def fail(self, revision: str, *, reason: str, message: str) -> None:
        (coordinator,) = [pod for pod in self.pods(revision) if "coordinator" in pod]
        verdict = Verdict(outcome="Failed", reason=reason, message=message, exit_code=3)
        self.cluster.finish_pod(coordinator, exit_code=3, verdict=verdict)

    async def settle(self) -> float | None:
        """Passes and controllers until nothing happens any more; the last pass's answer."""
        for _ in range(40):
            before = self.world.effects()
            self.control()
            after: float | None = await self.world.reconcile(MODEL_SERVICE, "chat")
            if self.world.effects() == before:
                return after
        raise AssertionError(f"the operator goes on writing: {self.cluster.writes[-10:]}")

    def control(self) -> None:
        """The endpoint and the garbage controller."""
        self.cluster.collect_garbage()
        service = self.cluster.objects.get(("Service", NAMESPACE, "chat"))
        if service is None or "selector" not in service.get("spec", {}):
            return
        wanted = service["spec"]["selector"].items()
        endpoints = [
            {"targetRef": {"kind": "Pod", "name": pod, "uid": metadata["uid"]}, "conditions": {"ready": True}}
            for pod in self.cluster.active_pods()
            if wanted <= (metadata := self.cluster.pod(pod)["metadata"])["labels"].items()
            and self._ready(pod)
        ]
        self.cluster.objects[("EndpointSlice", NAMESPACE, "chat-1")] = {
            "metadata": {
                "name": "chat-1",
                "namespace": NAMESPACE,
                "uid": "endpoints",
                "labels": {"kubernetes.io/service-name": "chat"},
            },
            "endpoints": endpoints,
        }

    # The steps of a rollout.
    async def start_coordinator(self, revision: str) -> None:
        await self.settle()
        self.start(*(pod for pod in self.pods(revision) if "coordinator" in pod))
        await self.settle()

    async def start_replicas(self, revision: str) -> None:
        self.start(*(pod for pod in self.pods(revision) if "worker" in pod))
        await self.settle()

    async def bring_up(self, revision: str, *, bits_per_byte: float | None = 2.0) -> None:
        """Until it is checked and ready, and a moment before it gets requests."""
        await self.start_coordinator(revision)
        await self.start_replicas(revision)
        self.say(revision, checked=True, bits_per_byte=bits_per_byte)
        await self.settle()

    async def pass_time(self, seconds: float = 2) -> float | None:
        self.clock.advance(seconds)
        return await self.settle()

    async def roll_out(self, revision: str) -> None:
        """Until it alone serves, and nothing is left of what served before."""
        await self.bring_up(revision)
        await self.pass_time()  # the switch
        await self.pass_time()  # the old pods are deleted
        for _ in range(2):  # replicas first, then their coordinator
            self.cluster.let_go_terminating()
            await self.settle()

    async def serve_r1(self, **spec: Any) -> None:
        """The service, with revision r1 alone."""
        self.add_revision("r1")
        self.add_service(**spec)
        await self.roll_out("r1")

    async def begin_r2(self, **spec: Any) -> None:
        """The service, with r1 active, and r2 recorded a minute later."""
        await self.serve_r1(**spec)
        self.clock.advance(60)
        self.add_revision("r2")
        await self.settle()

    # What there is.
    def run(self, revision: str) -> ServingRun:
        (map_,) = [
            each
            for (kind, _, _), each in self.cluster.objects.items()
            if kind == "ConfigMap" and self._revision_of(each) == revision
        ]
        run = parse_run(map_["data"]["run-config.json"])
        assert isinstance(run, ServingRun)
        return run

    def pods(self, revision: str) -> list[str]:
        """Neither finished nor Terminating."""
        maps = {
            each["metadata"]["labels"]["deepseek.dev/cluster"]: self._revision_of(each)
            for (kind, _, _), each in self.cluster.objects.items()
            if kind == "ConfigMap"
        }
        labels = {pod: self.cluster.pod(pod)["metadata"]["labels"] for pod in self.cluster.active_pods()}
        return [pod for pod, each in labels.items() if maps.get(each["deepseek.dev/cluster"]) == revision]

    def replicas(self, revision: str) -> list[str]:
        return [pod for pod in self.pods(revision) if "worker" in pod]

    def requests_go_to(self) -> set[str]:
        """The pods that the stable Service leads to now."""
        self.control()
        slices = self.cluster.objects.get(("EndpointSlice", NAMESPACE, "chat-1"), {"endpoints": []})
        return {each["targetRef"]["name"] for each in slices["endpoints"]}

    def clusters(self, pods: Iterable[str]) -> set[str]:
        return {self.cluster.pod(pod)["metadata"]["labels"]["deepseek.dev/cluster"] for pod in pods}

    def objects(self, kind: str) -> list[str]:
        return sorted(name for found, _, name in self.cluster.objects if found == kind)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.status(MODEL_SERVICE, "chat")
        return status

    def condition(self, type_: str) -> tuple[str, str]:
        """(status, reason)."""
        condition: tuple[str, str] = self.world.condition(type_, MODEL_SERVICE, "chat")
        return condition

    def message(self, type_: str) -> str:
        return str(self.cluster.condition(MODEL_SERVICE, "chat", type_).get("message", ""))

    def told(self) -> list[str]:
        return [reason for reason, _ in self.cluster.events()]

    def _ready(self, pod: str) -> bool:
        conditions = self.cluster.pod(pod).get("status", {}).get("conditions", [])
        return {"Ready": "True"}.items() <= {each["type"]: each["status"] for each in conditions}.items()

    def _revision_of(self, config_map: dict[str, Any]) -> str:
        run = parse_run(config_map["data"]["run-config.json"])
        assert isinstance(run, ServingRun)
        return run.revision.name

    def _document(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "deepseek.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def serving(world: Any) -> Serving:
    return Serving(world)


@pytest.fixture
def new_serving(new_world: Callable[[], Any]) -> Callable[[], Serving]:
    """For tests that live a life many times."""
    return lambda: Serving(new_world())
